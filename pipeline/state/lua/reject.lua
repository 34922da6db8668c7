-- Notes that a push service has rejected a pushkey of an app, and decides whether its pusher is to be removed or held. The guard trips when so many of
-- the pushkeys that were tried lately were rejected that the app's own certificate may be wrong; from then on everything is held.
-- KEYS  1 tripped guards, 2 rejected pushkeys of the app, 3 pushkeys held since the trip, 4 for the length of this script, then tried pushkeys of the app by
--       minute, this one first
-- ARGV  1 app, 2 the pushkey, 3 now (ms since 1970), 4 when the window began, 5 its length (ms), 6 fewest rejections, 7 percent,
--       8 name of a trip, 9 most trips that are noted, then other pushkeys that were tried; all of them hashes
-- returns what to do (0 remove, 1 hold, 2 hold although no more trips are noted), rejected and tried within the window, the trip: "name ms rejected tried", or ''
for i = 9, #ARGV, 200 do
  redis.call('PFADD', KEYS[5], ARGV[2], unpack(ARGV, i + 1, math.min(i + 200, #ARGV)))
end
redis.call('PEXPIRE', KEYS[5], tonumber(ARGV[5]) + 180000)

local trip = redis.call('HGET', KEYS[1], ARGV[1])
if trip then
  redis.call('PFADD', KEYS[3], ARGV[2])
  return {1, 0, 0, trip}
end

redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
local rejected = redis.call('ZCARD', KEYS[2])
redis.call('PFMERGE', unpack(KEYS, 4)) -- embedded servers sum what PFCOUNT of many keys must unite
local tried = math.max(rejected, redis.call('PFCOUNT', KEYS[4])) -- an estimate
redis.call('DEL', KEYS[4])
if rejected < tonumber(ARGV[6]) or rejected * 100 <= tonumber(ARGV[7]) * tried then
  return {0, rejected, tried, ''}
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[9]) then
  return {2, rejected, tried, ''}
end
trip = ARGV[8] .. ' ' .. ARGV[3] .. ' ' .. rejected .. ' ' .. tried
redis.call('HSET', KEYS[1], ARGV[1], trip)
redis.call('DEL', KEYS[3])
redis.call('PFADD', KEYS[3], ARGV[2])
return {1, rejected, tried, trip}
