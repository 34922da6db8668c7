package state

// The keys. Each is named here and nowhere else.
//
//	key                      type  written by                                       lifetime  bytes
//	<p>meta                  hash  Start, Restored                                  for ever  170
//	<p>accounts-applied      hash  SetAccountsApplied (raise_applied.lua)           for ever  30 a partition of the account topic
//	<p>{sN}:account:<user>   hash  ApplyAccounts, RemoveField                       for ever  200 + 190 a field + its JSON; a tombstone 140
//	<p>{sN}:counts:<user>    hash  ChangeCounts (change_counts.lua)                 for ever  130 + 40 a room + what it has unread
//	<p>{sN}:room:<room>      hash  SaveRoom, FillRoom                               for ever  150 + 100 a member
//	<p>{sN}:threads:<room>   hash  SaveRoom (save_room.lua)                         for ever  160 an event of the index that is in a thread
//	<p>{sN}:index:<room>     zset  SaveRoom (save_room.lua)                         for ever  50 an event id, 145 in rooms of more than 128; at most indexSize
//
// <p> is the configured prefix; N is the shard of the user or room. The bytes are measured on Redis 7.0 with its own settings, with ids of common length. Redis packs
// a hash whose values are all at most 64 bytes long (hash-max-listpack-value); one longer value, and each field of that user costs 60 bytes more.
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

// account names what is known of a user: field to "epoch partition offset time value", where an empty value is a tombstone.
func (k keys) account(userID string) string { return k.of("account", userID) }

// counts names what a user has unread: room id to bytes.
func (k keys) counts(userID string) string { return k.of("counts", userID) }

// threads names the threads of a room's events: event id to "depth root", of those in one.
func (k keys) threads(roomID string) string { return k.of("threads", roomID) }

// room names the state of a room: field to value, and "rev".
func (k keys) room(roomID string) string { return k.of("room", roomID) }

// index names the events of a room: event id by position.
func (k keys) index(roomID string) string { return k.of("index", roomID) }

// probe names keys that live for the length of one script: see [Store.Check].
func (k keys) probe(kind string) string { return k.prefix + "{s0}:probe:" + kind }
