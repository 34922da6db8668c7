package demo

// What happens: an opening that shows each kind of notification once, then a trickle without end.

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"tocsin/test/stack"
)

// play is the traffic while it goes on.
type play struct {
	*homeserver
	gateway *stack.Gateway
	last    map[string]string // newest message by room
}

// beat is the pause between two things of the opening: long enough to read what came of the one before.
const beat = 1500 * time.Millisecond

// prepare makes users and rooms. Accounts come first: rules are known before anything happens.
func (p *play) prepare(ctx context.Context) error {
	for user, global := range pushRules {
		if err := p.setRules(ctx, user, global); err != nil {
			return err
		}
	}
	for _, d := range devices {
		if err := p.register(ctx, d); err != nil {
			return err
		}
	}
	for _, plan := range rooms {
		if err := p.found(ctx, plan); err != nil {
			return err
		}
	}
	return nil
}

// opening is the first minute.
func (p *play) opening(ctx context.Context) error {
	for _, happen := range []func(context.Context) error{
		func(ctx context.Context) error {
			return p.say(ctx, garden, alice, "Good morning! Who looks after the garden this weekend?")
		},
		func(ctx context.Context) error { return p.say(ctx, direct, bob, "Coffee at ten?") },
		func(ctx context.Context) error {
			return p.say(ctx, garden, carol, "Me. The tomatoes need water, I think")
		},
		func(ctx context.Context) error {
			return p.mention(ctx, garden, alice, dave, "you have the key, right?")
		},
		func(ctx context.Context) error { return p.notice(ctx, garden, robot, "Rain from 14:00") },
		func(ctx context.Context) error { return p.react(ctx, garden, bob, "☔") },
		func(ctx context.Context) error {
			return p.edit(ctx, garden, alice, "Dave, you have the key to the shed, right?")
		},
		func(ctx context.Context) error { return p.whisper(ctx, night, erin) },
		func(ctx context.Context) error { return p.invite(ctx, night, erin, dave) },
		func(ctx context.Context) error { return p.readAll(ctx, garden, bob) },
		func(ctx context.Context) error {
			return p.say(ctx, garden, rita, "Greetings from the other side of the federation")
		},
		func(ctx context.Context) error {
			p.gateway.Script(stack.Answer{Status: 503})
			p.screen.note("the push gateway fails for a moment")
			return p.say(ctx, direct, bob, "I am downstairs")
		},
		func(ctx context.Context) error {
			return p.everybody(ctx, garden, alice, "the gate will be painted on Friday")
		},
		func(ctx context.Context) error { return p.join(ctx, night, dave) },
		func(ctx context.Context) error { return p.whisper(ctx, night, bob) },
	} {
		if err := happen(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, beat); err != nil {
			return err
		}
	}
	return nil
}

// small talk of the trickle.
var talk = []string{
	"Has anybody seen my gloves?", "The kettle is on", "See you on Thursday", "That was quick", "I will bring a cake", "Which tomato was it, again?", "Nice weather today",
	"The ladder is back in the shed", "Can we move it to six?", "Thank you!", "Not before noon, please", "The bees are out", "I have put it on the list",
}

// trickle goes on until ctx ends.
func (p *play) trickle(ctx context.Context) error {
	random := rand.New(rand.NewPCG(1, 2)) // the same small talk each time: nobody needs another
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	gardeners := []string{alice, bob, carol, dave, erin}
	for {
		if err := sleep(ctx, time.Duration(2000+random.IntN(4000))*time.Millisecond); err != nil {
			return err
		}
		var err error
		switch n := random.IntN(20); {
		case n < 8:
			err = p.say(ctx, garden, pick(gardeners), pick(talk))
		case n < 11:
			err = p.say(ctx, direct, pick([]string{alice, bob}), pick(talk))
		case n < 13:
			err = p.whisper(ctx, night, pick([]string{bob, carol, dave}))
		case n < 14:
			err = p.mention(ctx, garden, alice, pick([]string{bob, carol, dave}), "what do you think?")
		case n < 15:
			err = p.react(ctx, garden, pick(gardeners), pick([]string{"👍", "🍅", "🐝"}))
		case n < 16:
			err = p.notice(ctx, garden, robot, "Sunset at "+pick([]string{"16:08", "16:07", "16:06"}))
		case n < 17:
			p.gateway.Script(stack.Answer{Status: 502})
			p.screen.note("the push gateway fails for a moment")
			err = p.say(ctx, direct, bob, pick(talk))
		default:
			err = p.readAll(ctx, pick([]string{garden, direct, night}), pick([]string{alice, bob, carol, dave}))
		}
		if err != nil {
			return err
		}
	}
}

func (p *play) say(ctx context.Context, room, sender, text string) error {
	return p.message(ctx, room, sender, text, object{"msgtype": "m.text", "body": text})
}

func (p *play) mention(ctx context.Context, room, sender, whom, text string) error {
	text = displayName(whom) + ", " + text
	return p.message(ctx, room, sender, text, object{"msgtype": "m.text", "body": text, "m.mentions": object{"user_ids": []any{whom}}})
}

func (p *play) everybody(ctx context.Context, room, sender, text string) error {
	text = "@room " + text
	return p.message(ctx, room, sender, text, object{"msgtype": "m.text", "body": text, "m.mentions": object{"room": true}})
}

func (p *play) notice(ctx context.Context, room, sender, text string) error {
	return p.message(ctx, room, sender, text+"  (a notice)", object{"msgtype": "m.notice", "body": text})
}

// message sends a message, and remembers it as the room's newest.
func (p *play) message(ctx context.Context, room, sender, about string, content object) error {
	id, err := p.send(ctx, event{Room: room, Sender: sender, Type: "m.room.message", Content: content, about: about})
	p.last[room] = id
	return err
}

// whisper sends something that only its readers' devices can read.
func (p *play) whisper(ctx context.Context, room, sender string) error {
	id, err := p.send(ctx, event{Room: room, Sender: sender, Type: "m.room.encrypted", about: "(encrypted)", Content: object{
		"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEnACgAkLmt6qF84IK" + strings.Repeat("A", 11), "session_id": "X3lUlvLELLYxeTx4yOVu6U",
	}})
	p.last[room] = id
	return err
}

func (p *play) react(ctx context.Context, room, sender, key string) error {
	_, err := p.send(ctx, event{Room: room, Sender: sender, Type: "m.reaction", about: key + "  (a reaction)", Content: object{
		"m.relates_to": object{"rel_type": "m.annotation", "event_id": p.last[room], "key": key},
	}})
	return err
}

func (p *play) edit(ctx context.Context, room, sender, text string) error {
	_, err := p.send(ctx, event{Room: room, Sender: sender, Type: "m.room.message", about: text + "  (an edit)", Content: object{
		"msgtype": "m.text", "body": "* " + text, "m.new_content": object{"msgtype": "m.text", "body": text},
		"m.relates_to": object{"rel_type": "m.replace", "event_id": p.last[room]}, "m.mentions": object{},
	}})
	return err
}

func (p *play) invite(ctx context.Context, room, sender, whom string) error {
	_, err := p.send(ctx, event{Room: room, Sender: sender, Type: "m.room.member", StateKey: &whom, about: "invites " + localpart(whom), Content: object{
		"membership": "invite", "displayname": displayName(whom),
	}})
	return err
}

// readAll is a receipt for a room's newest message.
func (p *play) readAll(ctx context.Context, room, user string) error {
	if p.last[room] == "" || !p.joined[room][user] {
		return nil
	}
	return p.read(ctx, room, user, p.last[room])
}

// sleep waits, but not longer than ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
