package app

// Each stage with what it needs.

import (
	"context"
	"time"

	"tocsin/config"
	"tocsin/delivery"
	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

func (w *Worker) group(name string) string { return w.cfg.Kafka.GroupPrefix + "." + name }

func (w *Worker) accountsConsumer(p parts) stream.ConsumerConfig {
	s := &pipeline.Accounts{Store: w.store, DeadLetters: p.deadLetters, Log: w.log}
	return w.remembering(stream.ConsumerConfig{
		Group: w.group(StageAccounts), Topic: w.cfg.Topics.Account, Workers: 1, Handler: s, Committed: s.Committed,
		// What Redis does not have is read again, whatever the group has committed: Redis may have been emptied.
		Start: func(ctx context.Context, _ string, partition int, committed int64) (int64, error) {
			applied, err := w.store.AccountsApplied(ctx)
			return min(committed, applied[partition].Offset), err
		},
	}, p.memory.name)
}

func (w *Worker) roomsConsumer(p parts) stream.ConsumerConfig {
	s := pipeline.NewRooms(pipeline.Rooms{
		Store: w.store, Whole: p.whole, Accounts: p.accounts, Writer: p.writer, DeadLetters: p.deadLetters, Topics: w.cfg.Topics, Homeserver: homeserver(w.cfg), Related: w.cfg.Rules.Options().Features.RelatedEvents,
		Partitions: w.notificationPartitions, EventPartitions: w.eventPartitions, Clock: w.clock, Log: w.log, Metrics: w.telemetry.pipeline, Tracing: w.tracing.stages,
	}, w.cfg.Pipeline.CachedMembers)
	return w.remembering(stream.ConsumerConfig{Group: w.group(StageRooms), Topic: w.cfg.Topics.Events, Workers: w.cfg.Pipeline.RoomWorkers, Handler: s}, p.memory.afterAccounts)
}

// homeserver is whose users are told.
func homeserver(cfg *config.Config) pipeline.Homeserver {
	appservices, _ := pipeline.CompileAppservices(cfg.Homeserver.AppserviceUsers) // faults are reported when the configuration is read
	return pipeline.Homeserver{Name: cfg.Homeserver.ServerName, Appservices: appservices}
}

func (w *Worker) usersConsumer(p parts) stream.ConsumerConfig {
	s := &pipeline.Users{
		Counts: w.store, Store: w.store, Accounts: p.accounts, Guard: p.guard, Removed: w.store, LedgerTTL: w.cfg.Delivery.LedgerTTL, Paused: p.control.Paused, Live: w.cfg.Delivery.Live(), Through: p.apps.Through, Delivery: p.delivery, Writer: p.writer, DeadLetters: p.deadLetters,
		Topics: w.cfg.Topics, Tiers: delivery.Tiers, Partitions: w.notificationPartitions, Badges: pipeline.NewBadges(w.cfg.Badge), Counting: w.cfg.Counts,
		Expiry: pipeline.Expiry{Call: w.cfg.Delivery.Expiry.Call, Message: w.cfg.Delivery.Expiry.Message}, PushFrom: w.cfg.Delivery.PushFrom.Time(p.meta.FirstStart), Clock: w.clock, Log: w.log, Metrics: w.telemetry.pipeline, Tracing: w.tracing.stages,
	}
	return w.remembering(stream.ConsumerConfig{Group: w.group(StageUsers), Topic: w.cfg.Topics.Notifications, Workers: w.cfg.Pipeline.UserWorkers, Batch: 1, Handler: s}, p.memory.afterAccounts)
}

func (w *Worker) retryConsumer(p parts, delay time.Duration) stream.ConsumerConfig {
	topic := w.cfg.Topics.Retry(delay)
	s := &pipeline.Retry{Writer: p.writer, DeadLetters: p.deadLetters, Log: w.log, Topic: w.cfg.Topics.Notifications, Clock: w.clock, Delay: delay}
	return stream.ConsumerConfig{Group: w.group(StageRetry + topic[len(w.cfg.Topics.RetryPrefix):]), Topic: topic, Workers: 1, Handler: s, Due: s.Due}
}
