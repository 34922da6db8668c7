package state

// The keys. Each is named here and nowhere else.
//
//	key                              type  written by                                       lifetime                bytes
//	<p>meta                          hash  Start, Restored                                  for ever                170
//	<p>control                       hash  Pause, Resume                                    until resumed           40 + 60 an order
//	<p>accounts-applied              hash  SetAccountsApplied (raise_applied.lua)           for ever                30 a partition of the account topic
//	<p>{sN}:account:<user>           hash  ApplyAccounts, RemovePusher, RestorePushers      for ever                200 + 190 a field + its JSON; a tombstone 140
//	<p>{sN}:removed:<user>           hash  RemovePusher (remove_pusher.lua), ForgetRemoved  30 days since the last  210 a pusher + its JSON; at most maxRemoved
//	<p>{sN}:counts:<user>            hash  ChangeCounts, Tell (change_counts.lua)           for ever                100 + 52 a room + 1 to 2 an unread notification + 45 a pusher; see below
//	<p>{sN}:sent:<delivery>          text  Settle (settle.lua)                              delivery.ledger_ttl     150
//	<p>{sN}:room:<room>              hash  SaveRoom, FillRoom                               for ever                150 + 115 a member, also one who has left
//	<p>{sN}:threads:<room>           hash  SaveRoom (save_room.lua)                         for ever                145 an event of the index that is in a thread
//	<p>{sN}:index:<room>             zset  SaveRoom (save_room.lua)                         for ever                50 an event id, 145 in rooms of more than 128; at most indexSize
//	<p>{guard}:tripped               hash  Reject (reject.lua), ResetGuard                  until reset             80 + 60 an app; at most maxTrips
//	<p>{guard}:held:<app>            hll   Reject                                           until reset             5 a pushkey; at most 14,400
//	<p>{guard}:rejected:<app>        zset  Reject                                           delivery.guard.window   105 a pushkey
//	<p>{guard}:tried:<minute>:<app>  hll   NoteTried, Reject                                window + 3 min          5 a pushkey; at most 14,400
//
// <p> is the configured prefix; N is the shard of the user or room; hll is a HyperLogLog. The bytes are measured on Redis 7.0 with its own settings, with ids of common length. Redis
// packs a hash whose values are all at most 64 bytes long (hash-max-listpack-value); one longer value, and each field of that user costs 60 bytes more.
//
// So a user who never reads 50 rooms takes 3.7 KB while 20 notifications of each are kept (a user without a pusher), 55 KB with 1,000 of each; one room with 1, 10, 100 unread
// takes 184, 184, 408 bytes with its key. BenchmarkCountsMemory measures it.
//
// Users and rooms are named in clear: keys must not go into errors, logs or spans.

import (
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// keys builds key names.
type keys struct {
	prefix string
	shards uint64
}

func newKeys(cfg Config) keys { return keys{cfg.KeyPrefix, uint64(cfg.Shards)} }

// shard is the number of the shard that a user or room belongs to.
func (k keys) shard(id string) int { return int(xxhash.Sum64String(id) % k.shards) }

// of is a key of a user or room.
func (k keys) of(kind, id string) string {
	buf := make([]byte, 0, len(k.prefix)+len(kind)+len(id)+9)
	buf = append(buf, k.prefix...)
	buf = append(buf, "{s"...)
	buf = strconv.AppendInt(buf, int64(k.shard(id)), 10)
	buf = append(buf, "}:"...)
	buf = append(buf, kind...)
	buf = append(buf, ':')
	buf = append(buf, id...)
	return string(buf)
}

// meta names what the deployment remembers of itself.
func (k keys) meta() string { return k.prefix + "meta" }

// accountsApplied names how far the account topic has been applied: partition to "epoch offset".
func (k keys) accountsApplied() string { return k.prefix + "accounts-applied" }

// control names the operators' orders: "paused", or "paused app <pattern>", to "ms who".
func (k keys) control() string { return k.prefix + "control" }

// account names what is known of a user: field to "epoch partition offset time value", where an empty value is a tombstone.
func (k keys) account(userID string) string { return k.of("account", userID) }

// counts names what a user has unread: room id to bytes; and toldMark with a pusher's name to what it was told.
func (k keys) counts(userID string) string { return k.of("counts", userID) }

// sent names the end that a delivery of a user has come to.
func (k keys) sent(userID, deliveryID string) string {
	return k.prefix + "{s" + strconv.Itoa(k.shard(userID)) + "}:sent:" + deliveryID
}

// removed names the pushers of a user that were removed: field to "ms reason " and what the account had there.
func (k keys) removed(userID string) string { return k.of(kindRemoved, userID) }

const kindRemoved = "removed"

// threads names the threads of a room's events: event id to "depth root", of those in one.
func (k keys) threads(roomID string) string { return k.of("threads", roomID) }

// room names the state of a room: field to value, and "rev".
func (k keys) room(roomID string) string { return k.of("room", roomID) }

// index names the events of a room: event id by position.
func (k keys) index(roomID string) string { return k.of("index", roomID) }

// tripped names the guards that have tripped: app to "name ms rejected tried". All keys of guards are in one slot of a cluster, so that one script sees them together; they are few and small.
func (k keys) tripped() string { return k.prefix + "{guard}:tripped" }

// guard names what the guard of an app remembers.
func (k keys) guard(kind, appID string) string { return k.prefix + "{guard}:" + kind + ":" + appID }

// probe names keys that live for the length of one script: see [Store.Check].
func (k keys) probe(kind string) string { return k.prefix + "{s0}:probe:" + kind }
