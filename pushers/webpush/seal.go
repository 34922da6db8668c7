package webpush

// Encryption (RFC 8291): the one place that knows the library.
//
// The library does it all in one call: it encrypts, signs a VAPID token, makes a request and sends it. Of that we want the first alone, because it signs anew for each
// request, by the time of the machine, with an expiry that can't be set, and for an audience that may have a needless port. So it gets a key that is worth
// nothing, and a client that sends nothing and keeps the body; the token is made in vapid.go. It would also append to the backing array of the
// text that it is given, and pads each message to the size of a record.

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"slices"

	webpush "github.com/SherClockHolmes/webpush-go"
)

const (
	// maxSealed is the largest message that every push service must take (RFC 8030, section 7.2).
	maxSealed = 4096
	// sealing is how much larger a message is than its text: the header with the salt and our public key, the delimiter and the tag (RFC 8188, section 2; RFC 8291, section 4).
	sealing = 16 + 4 + 1 + 65 + 1 + 16
	// padding is the step in which messages grow, so that their size says little of what is in them.
	padding = 256
)

// sealer encrypts messages. It is safe for concurrent use.
type sealer struct{ private, public string } // the key for tokens that nobody will see

func newSealer() (sealer, error) {
	private, public, err := webpush.GenerateVAPIDKeys()
	return sealer{private, public}, err
}

// seal encrypts text, of MaxBody bytes at most, for the browser of a subscription: the body of a request with the content encoding aes128gcm. The salt and the key pair
// are new for each message.
func (s sealer) seal(text []byte, to *subscription) ([]byte, error) {
	size := (len(text) + sealing + padding - 1) / padding * padding
	var caught catcher
	_, err := webpush.SendNotification(slices.Clip(text), &webpush.Subscription{
		Endpoint: to.audience, // it goes nowhere
		Keys:     webpush.Keys{Auth: base64.RawURLEncoding.EncodeToString(to.secret), P256dh: base64.RawURLEncoding.EncodeToString(to.key)},
	}, &webpush.Options{HTTPClient: &caught, RecordSize: uint32(min(size, maxSealed)), VAPIDPrivateKey: s.private, VAPIDPublicKey: s.public})
	if !errors.Is(err, errCaught) {
		return nil, err
	}
	return caught.body, nil
}

// catcher is a client that sends nothing.
type catcher struct{ body []byte }

var errCaught = errors.New("not sent")

// Do keeps the body of a request.
func (c *catcher) Do(r *http.Request) (*http.Response, error) {
	var err error
	if c.body, err = io.ReadAll(r.Body); err != nil {
		return nil, err
	}
	return nil, errCaught
}
