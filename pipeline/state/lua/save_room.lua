-- Saves a change of a room, unless somebody else has changed the room since. The revision is saved in the field rev as "number name", where the name
-- is that of the save: so a save whose answer was lost can be sent again, and a revision never comes twice, whatever was lost.
-- KEYS  1 room, 2 index, 3 threads
-- ARGV  1 revision that the change was made from ('' is none), 2 name of this save, 3 how many events the index keeps,
--       4 number of fields to set, 5 number of fields to remove, 6 number of events, then
--       name and value of each field to set, name of each to remove, position and id of each event, id and thread of each that is in one
-- returns the new revision, or '' if the saved one is not that of the change
local saved = redis.call('HGET', KEYS[1], 'rev') or ''
local number = tonumber(string.match(ARGV[1], '^%d+') or '0')
local mine = string.format('%.0f %s', number + 1, ARGV[2])
if saved == mine then
  return mine
end
if saved ~= ARGV[1] then
  return ''
end

-- Some at a time: Lua's stack has an end.
local set = 7
local unset = set + 2 * tonumber(ARGV[4])
local events = unset + tonumber(ARGV[5])
local threads = events + 2 * tonumber(ARGV[6])
for i = set, unset - 1, 200 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 199, unset - 1)))
end
for i = unset, events - 1, 200 do
  redis.call('HDEL', KEYS[1], unpack(ARGV, i, math.min(i + 199, events - 1)))
end
for i = events, threads - 1, 200 do
  redis.call('ZADD', KEYS[2], 'NX', unpack(ARGV, i, math.min(i + 199, threads - 1)))
end
for i = threads, #ARGV, 2 do
  redis.call('HSETNX', KEYS[3], ARGV[i], ARGV[i + 1])
end
local over = events < threads and redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3]) or 0
while over > 0 do
  local some = math.min(over, 200)
  redis.call('HDEL', KEYS[3], unpack(redis.call('ZRANGE', KEYS[2], 0, some - 1)))
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, some - 1)
  over = over - some
end
redis.call('HSET', KEYS[1], 'rev', mine)
return mine
