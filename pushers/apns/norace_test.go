//go:build !race

package apns

const soaked = 50_000
