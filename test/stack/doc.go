// Package stack has the servers that a worker needs around it, small enough to live in one process: a Kafka broker ([StartBroker]), a Redis
// ([StartRedis]) and push services that do as they are told ([StartGateway], [StartAPNs], [StartFCM], [StartWebPush], or all of them as [StartProviders]).
//
// Tests take them from [Kafka], [Redis] and [Gateways], which clean up behind them; where TOCSIN_TEST_KAFKA and TOCSIN_TEST_REDIS name
// real servers, the first two hand those out instead, so that one suite runs on both. cmd/tocsin-dev starts the same servers for a person
// who wants to see tocsin at work. The product itself, cmd/tocsin, links none of this.
//
// The services read what they receive with code of their own ([DecodeNotification], [DecodeAPNs], [DecodeFCM]): a mistake that the worker makes in the wire format can't
// hide in a decoder that both share. [Golden] compares what goes out with files that people can read.
package stack
