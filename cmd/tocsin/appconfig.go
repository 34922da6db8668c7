package main

// The command appconfig: what phones under device management are told of the deployment.

import "tocsin/cmd/app"

type appConfigCommand struct {
	Homeserver string `required:"" help:"URL of the homeserver." placeholder:"URL"`
	Permalink  string `help:"URL that links to rooms and events begin with: that of your web client. Without it the app's own." placeholder:"URL"`
	Gateway    string `help:"URL of the push gateway, for an app that you have built yourself. Without it the app's own." placeholder:"URL"`
	BundleID   string `name:"bundle-id" help:"Bundle id of the app." default:"im.vector.app"`
}

// Run prints the file. No configuration or server is needed.
func (c appConfigCommand) Run(on call) error {
	return app.AppConfig(app.AppConfigOptions{BundleID: c.BundleID, Homeserver: c.Homeserver, Permalink: c.Permalink, Gateway: c.Gateway}, on.stdout)
}
