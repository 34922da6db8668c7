package pipeline

// What the stages keep: the few questions that they ask of Redis. Package state answers them.

import (
	"context"
	"errors"
	"time"

	"tocsin/pipeline/stream"
)

// ErrStale says that somebody else has changed what was to be saved: read it again, and do again what is still missing.
var ErrStale = errors.New("changed by another owner")

// ErrLost says that Redis no longer has what it had: nothing can be done but stop and say so. A stage that returns it leaves the partition where it is.
var ErrLost error = lostError{}

// lostError is a [stream.ErrStop], whose words about one partition would lead astray: it is all of them.
type lostError struct{}

func (lostError) Error() string { return "what was saved is lost" }
func (lostError) Unwrap() error { return stream.ErrStop }

// Version orders the writes to one field of an account: it names the record that it came from, and the newer record wins, whoever writes it, in whatever order.
type Version struct {
	Epoch     int64 // of the partition's offsets: counts up when the topic is made anew
	Partition int
	Offset    int64
	Time      int64 // Kafka's, in milliseconds since 1970
}

// NewerThan says whether a version comes from a newer record than another. Within a partition the offset decides. Across partitions offsets say nothing: a user's records move to another partition
// when the topic is repartitioned, and what was written last has the later time.
func (v Version) NewerThan(other Version) bool {
	switch {
	case v.Partition == other.Partition:
		return v.Epoch > other.Epoch || v.Epoch == other.Epoch && v.Offset > other.Offset
	case v.Time != other.Time:
		return v.Time > other.Time
	default:
		return v.Partition > other.Partition // as good as any, as long as all agree
	}
}

// SameRecord says whether two versions are of the same record.
func (v Version) SameRecord(other Version) bool {
	return v.Epoch == other.Epoch && v.Partition == other.Partition && v.Offset == other.Offset
}

// versionOf is the version of what a record of the account topic says.
func versionOf(rec *stream.Record) Version {
	return Version{Epoch: rec.Incarnation, Partition: rec.Partition, Offset: rec.Offset, Time: rec.Time.UnixMilli()}
}

// AccountField is one thing that is known of a user: the rules, one pusher, the ignore list.
type AccountField struct {
	UserID  string
	Field   string // see the field names in account.go
	Version Version
	Value   string // "" is a removal: its version stays as a tombstone
}

// Whole is nil if Redis still has the contents that this process started with, and [ErrLost] if not. Asked after something was found missing, it tells whether that was never there or is gone.
type Whole func(ctx context.Context) error

// Meta is what a deployment remembers of itself from its first start on.
type Meta struct {
	FirstStart time.Time // on the clock of the worker that was first
	Shards     int       // fixed at the first start
	Epoch      string    // a random name of this Redis's contents: gone if they are lost
	Restored   time.Time // when all was restored from Kafka (see [Rebuild]), without the counts from before; zero if never
}

// RoomChange is what a batch of events made of a room.
type RoomChange struct {
	RoomID string
	Rev    string            // that the change was made from: another one in Redis is ErrStale
	Set    map[string]string // fields to set, see statefield.go
	Unset  []string          // fields to remove
	Index  []IndexEntry      // events to be remembered
}

// IndexEntry is the place of an event in its room.
type IndexEntry struct {
	EventID string
	Place
}

// CountChange changes what one user has unread in one room. Apply gets what is saved (nil: nothing) and returns what is to be saved; it may be
// called several times and must be idempotent: applied twice, it changes nothing the second time.
type CountChange struct {
	UserID, RoomID string
	Apply          func(saved []byte) []byte
}

// AccountStore keeps accounts. Every method is safe for concurrent use; each error means that nothing is lost and the call can be made again.
type AccountStore interface {
	// ApplyAccounts writes the fields that are newer than what is saved.
	ApplyAccounts(ctx context.Context, fields []AccountField) error
	// Accounts reads all fields of the users, in their order: field name to version and value. Tombstones are left out.
	Accounts(ctx context.Context, userIDs []string) ([]map[string]VersionedValue, error)
	// AccountVersions reads the versions of all fields of the users, in their order, those of tombstones too.
	AccountVersions(ctx context.Context, userIDs []string) ([]map[string]Version, error)
	// AccountsApplied is the mark below which each partition of the account topic has been applied.
	AccountsApplied(ctx context.Context) (map[int]stream.Mark, error)
	// SetAccountsApplied raises that mark of a partition. Within an incarnation its offset never falls; a newer one begins anew, an older one is ignored.
	SetAccountsApplied(ctx context.Context, partition int, mark stream.Mark) error
}

// VersionedValue is a field's value and where it came from.
type VersionedValue struct {
	Version Version
	Value   string
}

// RoomStore keeps rooms.
type RoomStore interface {
	// LoadRoom hands a room's fields one by one to what begin returns, and returns the revision that they are of; "" if nothing is saved of the room. If the room changes meanwhile, begin is called
	// once more and all fields come again. begin is told about how many there will be. A field may come twice.
	LoadRoom(ctx context.Context, roomID string, begin func(fields int) func(field, value string)) (rev string, err error)
	// RoomRev reads the revision alone: a text that never comes again, whatever Redis loses.
	RoomRev(ctx context.Context, roomID string) (string, error)
	// SaveRoom saves a change and returns the new revision, or ErrStale. All of it, or nothing. An event that is remembered already keeps its place.
	SaveRoom(ctx context.Context, change RoomChange) (rev string, err error)
	// Places looks event ids up in a room's index. Unknown ones are missing in the answer.
	Places(ctx context.Context, roomID string, eventIDs []string) (map[string]Place, error)
	// FillRoom sets fields of state ("POSITION VALUE") that are not there, or have another value and no higher position; it makes a new revision if it set any, and returns how many it set.
	FillRoom(ctx context.Context, roomID string, fields map[string]string) (filled int, err error)
}

// SavedCounts is what is saved of one user's counts.
type SavedCounts struct {
	Rooms map[string][]byte // room id to what Apply returned
	Told  map[string]string // what pushers were last told, by the name that ToldChange gave them
}

// ToldChange changes what one pusher of a user was told, unless somebody else has changed it since it was From. "" is nothing.
type ToldChange struct {
	UserID   string
	Pusher   string // a short name of the pusher, of its user's others
	From, To string
}

// CountStore keeps what users have unread, and what their pushers were told of it.
type CountStore interface {
	// ChangeCounts applies the changes. Those of different users go side by side; each is compared and set, so that two owners who write at once lose nothing.
	ChangeCounts(ctx context.Context, changes []CountChange) error
	// Counts reads what each user has saved in all rooms and of all pushers, in the order of the users.
	Counts(ctx context.Context, userIDs []string) ([]SavedCounts, error)
	// CountsFor is Counts of one user who is about to be told something, and whether that delivery has come to its end before (see ledger.go). A delivery without id has no entry.
	CountsFor(ctx context.Context, userID, deliveryID string) (saved SavedCounts, ended bool, err error)
	// Tell makes the changes whose From still holds, and returns what is saved of each pusher then: To, or what somebody else has saved.
	Tell(ctx context.Context, changes []ToldChange) ([]string, error)
	// Settle notes in the ledger that a delivery has come to its end, and makes the changes as Tell does: all of one user's, and all at once.
	Settle(ctx context.Context, s Settlement) ([]string, error)
}

// Settlement is the end of a delivery, and what its pusher was told by then.
type Settlement struct {
	UserID, DeliveryID string
	End                End
	TTL                time.Duration // how long the ledger keeps it
	Told               []ToldChange
}
