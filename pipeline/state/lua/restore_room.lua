-- Sets the fields of a room's state that are not there, or have another value and no higher position, and makes a new revision. As long as no stage has ordered events by it, the room's
-- order begins far above the highest position.
-- KEYS  1 room
-- ARGV  1 name of this save (see save_room.lua), 2 how far above, then name and value of each field; a value begins with its position
-- returns how many it set
local function position(value)
  return tonumber(string.match(value, '^%d+') or '0')
end
local set, highest = 0, 0
for i = 3, #ARGV, 2 do
  local saved = redis.call('HGET', KEYS[1], ARGV[i])
  highest = math.max(highest, position(ARGV[i + 1]))
  if not saved or saved ~= ARGV[i + 1] and position(saved) <= position(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    set = set + 1
  end
end
local last, source = string.match(redis.call('HGET', KEYS[1], 'order') or '0 0 0 ', '^(%d+) %d+ %-?%d+ (.*)$')
if source == '' and tonumber(last) < highest + tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'order', string.format('%.0f 0 0 ', highest + tonumber(ARGV[2])))
  set = set + 1
end
if set > 0 then
  local rev = tonumber(string.match(redis.call('HGET', KEYS[1], 'rev') or '0', '^%d+'))
  redis.call('HSET', KEYS[1], 'rev', string.format('%.0f %s', rev + 1, ARGV[1]))
end
return set
