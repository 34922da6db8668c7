//go:build !race

package model

// steps that are taken by default.
const steps = 100_000
