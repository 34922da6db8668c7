// Package stream is all of Kafka: it hands records to a stage, keeps what belongs together in order, and commits what is done.
// Nothing else in tocsin uses a Kafka client.
//
// # The life of a record
//
// A [Consumer] is one member of one consumer group that reads one topic. Kafka deals out the partitions; from one deal to the next is a generation. For
// each of its partitions a goroutine
//
//	fetches records                      fetch.go       (one request under way; the next only when these were taken)
//	waits until they are due             partition.go   (retry tiers, by Config.Clock)
//	has [Handler.Take] take them         partition.go   (again and again until it does)
//	hands their tasks to the lanes       lanes.go       ([Handler.Do]: one at a time in a lane, Workers at a time in all)
//
// and a record is done when Take returned and all its tasks are done. The lowest offset that is not done is the partition's watermark; the watermarks are
// committed each Config.CommitInterval (generation.go). So a crash repeats what was in work and loses nothing. When the generation ends, what has
// not begun is dropped, what runs may finish within Config.DrainTimeout, and the watermarks are committed once more.
//
// Where the store that the stage saves in may have lost its last writes, the last records are read again, marked [Record.Again] (rewind.go).
//
// Work that is not done after Config.StuckAfter is named by the watchdog (watchdog.go).
//
// A [Tail] reads a topic in every process and without a group; [Cluster.Scan] reads what a topic has, once; a [Writer] writes; [DeadLetters] buries what can't be handled.
//
// # Non-obvious
//
//   - Errors of a Handler never skip anything. What can't be handled has to be buried by the handler, which then returns nil.
//   - A commit acknowledges all that lies below it; committing 7 while 5 is in work loses 5 in a crash. Hence the watermark.
//   - Offsets are not consecutive (compaction, transactions), and a fetch may bring records below the offset asked for, or none at all although the log
//     goes on. See Cluster.fetch.
//   - "Offset out of range" has three causes: retention overtook us (go on at the first offset), the topic was made anew (first offset, and nothing known
//     of old offsets counts any more), the log was cut (go on at its end). Commits carry the time of the newest record that was done in order to
//     tell them apart, and [Record.Incarnation] rises when offsets are given out a second time. See resume.
//   - Kafka drops a group's commits when it deletes a topic. Hence incarnations are times, not counters.
//   - A rebalance ends kafka-go's heartbeats while handlers still run. Commits are heartbeats too, and go to the right broker; the drain repeats them.
//   - kafka-go forgets its member id when it can't reach the coordinator; the group would wait for the ghost. See Consumer.leave.
//   - kafka-go says "topic not found" for a wrong password. Only a Metadata request names the true cause. See Cluster.trueCause.
//   - A topic must exist before a group joins: kafka-go assigns nothing for a missing one. Run waits for it.
//   - [Record.Time] is the time that the producer wrote. kafka-go does not show the time of a batch, so the broker's own time of a topic with
//     message.timestamp.type=LogAppendTime can't be seen.
//   - Transactions: marks are stepped over, records of aborted ones are delivered. kafka-go can't tell them apart.
//   - A Writer is not idempotent: a request whose answer was lost is repeated, and its messages are there twice.
package stream
