package delivery

// When the rejection guard of an app trips.

import "time"

// GuardConfig is section `delivery.guard`: from when on so many pushkeys of an app are rejected that its pushers are held, not removed.
type GuardConfig struct {
	Rejections int           `yaml:"rejections" doc:"an app's rejected pushers are held, not removed, from so many rejected pushkeys on, if they are also more than the percentage says: a wrong certificate looks just like dead pushkeys"`
	Percent    int           `yaml:"percent" doc:"percentage of the app's pushkeys that were tried which must be exceeded; 100 switches the guard off"`
	Window     time.Duration `yaml:"window" doc:"time in which both are counted, in whole minutes"`
}

func (c GuardConfig) validate(report func(ok bool, format string, args ...any)) {
	report(c.Rejections >= 1 && c.Rejections <= 1_000_000, "guard.rejections: %d is not between 1 and 1000000", c.Rejections)
	report(c.Percent >= 0 && c.Percent <= 100, "guard.percent: %d is not between 0 and 100", c.Percent)
	report(c.Window >= time.Minute && c.Window <= time.Hour && c.Window%time.Minute == 0, "guard.window: %v is not between 1m0s and 1h0m0s, in whole minutes", c.Window)
}
