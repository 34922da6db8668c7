package state_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"

	"tocsin/pipeline"
	"tocsin/pipeline/state"
)

func Example() {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic(err)
	}
	defer server.Close()

	cfg := state.Defaults()
	cfg.Addresses = []string{server.Addr()}
	store, err := state.Open(cfg)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	ctx := context.Background()
	if _, err := store.Start(ctx, time.Now()); err != nil {
		panic(err)
	}

	// Bob's name enters the set of what Alice has to read, once, however often the record comes.
	note := pipeline.CountChange{UserID: "@alice:example.org", RoomID: "!room:example.org", Apply: func(saved []byte) []byte {
		if string(saved) == "bob" {
			return saved
		}
		return append(saved, "bob"...)
	}}
	for range 2 {
		if err := store.ChangeCounts(ctx, []pipeline.CountChange{note}); err != nil {
			fmt.Println(err) // nothing is lost: call again
		}
	}
	counts, err := store.Counts(ctx, []string{"@alice:example.org"})
	fmt.Printf("%s %v\n", counts[0].Rooms["!room:example.org"], err)
	// Output: bob <nil>
}
