//go:build race

package model

// steps that are taken by default: the race detector makes each some ten times as slow. The whole number is taken where it does not watch, on the real servers.
const steps = 8_000
