-- Sets the fields of a room that are not there, or have another value and no higher position, and makes a new revision if it set any.
-- KEYS  1 room
-- ARGV  1 name of this save (see save_room.lua), then name and value of each field; a value begins with its position
-- returns how many it set
local function position(value)
  return tonumber(string.match(value, '^%d+') or '0')
end
local filled = 0
for i = 2, #ARGV, 2 do
  local saved = redis.call('HGET', KEYS[1], ARGV[i])
  if not saved or saved ~= ARGV[i + 1] and position(saved) <= position(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    filled = filled + 1
  end
end
if filled > 0 then
  local rev = tonumber(string.match(redis.call('HGET', KEYS[1], 'rev') or '0', '^%d+'))
  redis.call('HSET', KEYS[1], 'rev', string.format('%.0f %s', rev + 1, ARGV[1]))
end
return filled
