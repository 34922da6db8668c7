package app

// Each stage with what it needs.

import (
	"context"
	"time"

	"tocsin/delivery"
	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

func (w *Worker) group(name string) string { return w.cfg.Kafka.GroupPrefix + "." + name }

func (w *Worker) accountsConsumer(dead *stream.DeadLetters) stream.ConsumerConfig {
	s := &pipeline.Accounts{Store: w.store, DeadLetters: dead, Log: w.log}
	return stream.ConsumerConfig{
		Group: w.group(StageAccounts), Topic: w.cfg.Topics.Account, Workers: 1, Handler: s, Committed: s.Committed,
		// What Redis does not have is read again, whatever the group has committed: Redis may have been emptied.
		Start: func(ctx context.Context, _ string, partition int, committed int64) (int64, error) {
			applied, err := w.store.AccountsApplied(ctx)
			return min(committed, applied[partition]), err
		},
	}
}

func (w *Worker) roomsConsumer(accounts *pipeline.AccountCache, writer *stream.Writer, dead *stream.DeadLetters) stream.ConsumerConfig {
	s := pipeline.NewRooms(pipeline.Rooms{
		Store: w.store, Accounts: accounts, Writer: writer, DeadLetters: dead, Topics: w.cfg.Topics, Server: w.cfg.Homeserver.ServerName,
		Partitions: w.notificationPartitions, Clock: w.clock, Log: w.log,
	}, w.cfg.Pipeline.CachedRooms)
	return stream.ConsumerConfig{Group: w.group(StageRooms), Topic: w.cfg.Topics.Events, Workers: w.cfg.Pipeline.RoomWorkers, Handler: s}
}

func (w *Worker) usersConsumer(meta pipeline.Meta, accounts *pipeline.AccountCache, writer *stream.Writer, dead *stream.DeadLetters) stream.ConsumerConfig {
	s := &pipeline.Users{
		Counts: w.store, Store: w.store, Accounts: accounts, Delivery: delivery.New(w.cfg.Delivery, w.gatewaySender(), w.clock), Writer: writer, DeadLetters: dead,
		Topics: w.cfg.Topics, Tiers: delivery.Tiers, Partitions: w.notificationPartitions, Badge: w.cfg.Badge, MaxUnread: w.cfg.Pipeline.MaxUnread,
		Expiry: pipeline.Expiry{Call: w.cfg.Delivery.Expiry.Call, Message: w.cfg.Delivery.Expiry.Message}, PushFrom: w.cfg.Delivery.PushFrom.Time(meta.FirstStart), Clock: w.clock, Log: w.log,
	}
	return stream.ConsumerConfig{Group: w.group(StageUsers), Topic: w.cfg.Topics.Notifications, Workers: w.cfg.Pipeline.UserWorkers, Handler: s}
}

func (w *Worker) retryConsumer(delay time.Duration, writer *stream.Writer) stream.ConsumerConfig {
	topic := w.cfg.Topics.Retry(delay)
	s := &pipeline.Retry{Writer: writer, Topic: w.cfg.Topics.Notifications, Clock: w.clock, Delay: delay}
	return stream.ConsumerConfig{Group: w.group(StageRetry + topic[len(w.cfg.Topics.RetryPrefix):]), Topic: topic, Workers: 1, Handler: s, Due: s.Due}
}
