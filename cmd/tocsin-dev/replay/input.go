package replay

// The input as a whole: read once to be sure that every line is right before anything is fed, then line by line.

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"tocsin/test/stack"
)

// InputError says what is wrong with the input, and where.
type InputError struct {
	Name string // of the file; "-" is the standard input
	Line int    // counted from 1; 0: the input as a whole
	Err  error
}

// Error implements error.
func (e *InputError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s, line %d: %v", e.Name, e.Line, e.Err)
}

// Unwrap is the fault itself.
func (e *InputError) Unwrap() error { return e.Err }

// maxLine bounds what one line can make the program hold in memory.
const maxLine = 256 << 20

// input is a replay file that can be read twice.
type input struct {
	name   string
	file   *os.File
	spool  bool      // file is a copy that nobody else needs
	config []byte    // settings of the first line; nil if it has none
	start  time.Time // the first origin_server_ts, or 1970 if there is none
	direct []direct  // all that push services are told to answer
}

// direct is what push services are told to answer, and by which line.
type direct struct {
	line   int
	answer *stack.ProviderAnswer
}

// openInput opens the file ("-" is stdin) and checks every line of it. What can be read only once is copied to a temporary file first.
func openInput(name string, stdin io.Reader) (*input, error) {
	in := &input{name: name}
	if err := in.open(stdin); err != nil {
		return nil, &InputError{Name: name, Err: err}
	}
	if err := in.check(); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (in *input) open(stdin io.Reader) error {
	if in.name != "-" {
		file, err := os.Open(in.name)
		var named *fs.PathError
		if errors.As(err, &named) {
			return named.Err // the name stands before it anyway
		} else if err != nil {
			return err
		}
		info, err := file.Stat()
		if err != nil {
			return errors.Join(err, file.Close())
		}
		if info.Mode().IsRegular() {
			in.file = file
			return nil
		}
		defer file.Close()
		stdin = file
	}
	spool, err := os.CreateTemp("", "tocsin-replay-*.jsonl")
	if err != nil {
		return err
	}
	in.file, in.spool = spool, true
	if _, err := io.Copy(spool, stdin); err != nil {
		return errors.Join(err, in.Close())
	}
	return nil
}

// Close closes the file, and removes it if it is a copy.
func (in *input) Close() error {
	err := in.file.Close()
	if in.spool {
		err = errors.Join(err, os.Remove(in.file.Name()))
	}
	return err
}

// check reads all lines, and keeps what has to be known before the first of them is fed.
func (in *input) check() error {
	started := false
	in.start = time.UnixMilli(0)
	number := 0
	for l, err := range in.lines() {
		if err != nil {
			return err
		}
		number++
		switch {
		case l.config != nil && number > 1:
			return &InputError{in.name, number, errors.New(`"config" can only be the first line`)}
		case l.config != nil:
			in.config = bytes.Clone(l.config)
		case l.direct != nil:
			in.direct = append(in.direct, direct{number, l.direct})
		case l.record != nil && l.record.topic == topicEvents && !started:
			if at, ok := originTime(l.record.value); ok {
				in.start, started = at, true
			}
		}
	}
	return nil
}

// lines yields the lines from the first one on, and ends with the first error. A line's bytes are good until the next one.
func (in *input) lines() iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		if _, err := in.file.Seek(0, io.SeekStart); err != nil {
			yield(line{}, &InputError{Name: in.name, Err: err})
			return
		}
		reader := bufio.NewReaderSize(in.file, 1<<20)
		for number := 1; ; number++ {
			raw, err := readLine(reader)
			if err == io.EOF {
				return
			}
			var l line
			if err == nil {
				l, err = parseLine(raw)
			}
			if err != nil {
				yield(line{}, &InputError{in.name, number, err})
				return
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// readLine reads up to the next newline, without it. The end of the input ends a line, too, unless it follows a newline.
func readLine(r *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := r.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			if whole = append(whole, part...); len(whole) > maxLine {
				return nil, fmt.Errorf("longer than %d MiB", maxLine>>20)
			}
			continue
		case err == io.EOF && len(whole)+len(part) > 0:
		case err != nil:
			return nil, err
		}
		part = bytes.TrimSuffix(part, []byte("\n"))
		if whole == nil {
			return part, nil
		}
		return append(whole, part...), nil
	}
}
