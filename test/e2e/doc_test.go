// Package e2e holds the worker as a whole against what a user would see: recorded input on one side, the requests that a push gateway receives on
// the other. [TestScenarios] replays the files of testdata, each a story of its own (testdata/README.md tells them); TestKilled kills real worker
// processes in the middle of their work.
//
// The tests run on embedded servers, or on real ones where TOCSIN_TEST_KAFKA and TOCSIN_TEST_REDIS name them.
package e2e_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
