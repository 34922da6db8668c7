package stack

// Golden files, for tests of what goes out to these servers.

import (
	"os"

	"github.com/google/go-cmp/cmp"
)

// Golden holds that got is what a file has, or writes it there if the files are to be updated.
func Golden(t TB, file, got string, update bool) {
	t.Helper()
	if update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatalf("%v", err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Fatalf("%s (-want +got; write it anew with -update)\n%s", file, diff)
	}
}
