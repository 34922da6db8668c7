//go:build race

package apns

// soaked is fewer where the race detector makes each ten times as dear.
const soaked = 5_000
