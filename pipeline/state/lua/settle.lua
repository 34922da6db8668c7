-- Notes that a delivery has come to its end, and what its pusher was told by then, each where it is still what it was changed from.
-- KEYS  1 ledger entry of the delivery, 2 counts of the user
-- ARGV  1 the end, 2 how long it is remembered (ms), then for each change: field, what it was changed from, what it is to be ('' is nothing, in both)
-- returns what is saved now of each field
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local found = {}
for i = 3, #ARGV, 3 do
  local field, from, to = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local saved = redis.call('HGET', KEYS[2], field) or ''
  if saved == from and saved ~= to then
    if to == '' then
      redis.call('HDEL', KEYS[2], field)
    else
      redis.call('HSET', KEYS[2], field, to)
    end
    saved = to
  end
  found[#found + 1] = saved
end
return found
