-- Drops removed pushers, each if it is still what it was.
-- KEYS  the removed pushers of users
-- ARGV  for each: number of its key, name, what is kept
-- returns how many it dropped
local dropped = 0
for i = 1, #ARGV, 3 do
  local key, name = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  if redis.call('HGET', key, name) == ARGV[i + 2] then
    dropped = dropped + redis.call('HDEL', key, name)
  end
end
return dropped
