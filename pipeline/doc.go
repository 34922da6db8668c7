// Package pipeline has the four stages through which an event becomes a notification. They meet only in Kafka and Redis:
//
//	matrix.account ──► [Accounts] ──► Redis: rulesets, pushers, ignored users
//	matrix.room-events ──► [Rooms] ──► tocsin.notifications ──► [Users] ──► delivery ──► push gateway
//	                                        ▲                      └──► tocsin.retry.5s … 1h ──► [Retry] ─┐
//	                                        └─────────────────────────────────────────────────────────────┘
//
// A room's events are handled in order by the one owner of its partition, against the room's state from before each event ([Room]); a
// user's notifications by the one owner of theirs, which alone counts ([Unread]), composes and sends. So nothing here locks
// across processes, and what is repeated after a crash changes nothing: positions say what is already known, sets say what is already counted.
//
// Decisions are pure and stand in files of their own: [DecodeEvent], [Room.Fold], [Recipients], [Unread], [Compose]. The files
// rooms.go, users.go, accounts.go and retry.go read from top to bottom as their stage's way of a record.
package pipeline
