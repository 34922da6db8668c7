-- Changes what users have unread, each where it is still what the change was computed from.
-- KEYS  the counts of users
-- ARGV  for each change: number of its key, room, what it was computed from, what it is to be ('' is nothing, in both)
-- returns for each change that was not made: its number, counted from 0, and what is saved there now
local conflicts = {}
for i = 1, #ARGV, 4 do
  local key, room, from, to = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local saved = redis.call('HGET', key, room) or ''
  if saved ~= to then
    if saved ~= from then
      conflicts[#conflicts + 1] = (i - 1) / 4
      conflicts[#conflicts + 1] = saved
    elseif to == '' then
      redis.call('HDEL', key, room)
    else
      redis.call('HSET', key, room, to)
    end
  end
end
return conflicts
