-- Sets the fields of a room that are not there, and counts its revision up if it set any.
-- KEYS  1 room
-- ARGV  1 name of this save (see save_room.lua), then name and value of each field
-- returns how many it set
local filled = 0
for i = 2, #ARGV, 2 do
  filled = filled + redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
end
if filled > 0 then
  local rev = tonumber(string.match(redis.call('HGET', KEYS[1], 'rev') or '0', '^%d+'))
  redis.call('HSET', KEYS[1], 'rev', string.format('%.0f %s', rev + 1, ARGV[1]))
end
return filled
