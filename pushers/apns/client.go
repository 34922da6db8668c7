package apns

import "github.com/sideshow/apns2"

const (
	hostProduction = apns2.HostProduction
	hostSandbox    = apns2.HostDevelopment
)
