// Package apns tells Apple devices of notifications, through the Apple Push Notification service (APNs), for deployments that have apps of their own.
//
// An app proves itself with a key or a certificate ([Config]). Its way through the package: [Config.Payload] (what to say) and push (to whom, how urgently), exchange (say it, on
// one of few long connections), classify (what the answer means), and perhaps a remedy (a new token, a smaller payload, another connection) for one more request within the
// same attempt. A [Sender] makes one attempt and says what came of it as a [pushers.Outcome]; whether there is another one is not decided here.
//
// Nothing of content goes to Apple unless [Config.Form] says so.
//
// What goes through in a second, and what processor time it takes: go test -run '^$' -bench Throughput ./pushers/apns. Nothing of 50,000 is lost at
// faults: go test -run Soak ./pushers/apns.
package apns
