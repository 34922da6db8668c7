-- Resets the guard of an app: rejections are counted anew from now on.
-- KEYS  1 tripped guards, then all other keys of the app's guard
-- ARGV  1 app
-- returns the trip that it ends, or '' if the guard had not tripped
local trip = redis.call('HGET', KEYS[1], ARGV[1]) or ''
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', unpack(KEYS, 2))
return trip
