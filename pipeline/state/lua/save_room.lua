-- Saves a change of a room, unless somebody else has changed the room since. The revision is saved in the field rev as "number name", where the name
-- is that of the save: so a save whose answer was lost can be sent again.
-- KEYS  1 room, 2 index
-- ARGV  1 revision that the change was made from, 2 name of this save, 3 how many events the index keeps, 4 number of fields to set,
--       then name and value of each field, position and id of each event
-- returns 1 if it is saved, 0 if the revision is another one
local rev = tonumber(ARGV[1])
local mine = string.format('%.0f %s', rev + 1, ARGV[2])
local saved = redis.call('HGET', KEYS[1], 'rev')
if saved == mine then
  return 1
end
if tonumber(string.match(saved or '0', '^%d+')) ~= rev then
  return 0
end

-- Some at a time: Lua's stack has an end.
local fields, events = 5, 5 + 2 * tonumber(ARGV[4])
for i = events, #ARGV, 200 do
  redis.call('ZADD', KEYS[2], 'NX', unpack(ARGV, i, math.min(i + 199, #ARGV)))
end
if events <= #ARGV then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[3]) - 1)
end
for i = fields, events - 1, 200 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 199, events - 1)))
end
redis.call('HSET', KEYS[1], 'rev', mine)
return 1
