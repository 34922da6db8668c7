-- Turns a field of an account into a tombstone of the same version, if it still has that version, and keeps what it was.
-- KEYS  1 account, 2 removed pushers of the user
-- ARGV  1 name, 2 version as it is saved, with the space after it, 3 what stands before the kept text: "ms reason ", 4 how long it is kept (ms), 5 how many are
-- returns 1 if the field is now a tombstone of that version, 0 if it has another version or was never there
local saved = redis.call('HGET', KEYS[1], ARGV[1])
if not saved or string.sub(saved, 1, #ARGV[2]) ~= ARGV[2] then
  return 0
end
if saved == ARGV[2] then
  return 1
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] .. saved)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('HLEN', KEYS[2]) > tonumber(ARGV[5]) then -- the oldest makes room
  local all, oldest, since = redis.call('HGETALL', KEYS[2]), nil, nil
  for i = 1, #all, 2 do
    local at = tonumber(string.match(all[i + 1], '^%d+') or '0')
    if all[i] ~= ARGV[1] and (not since or at < since) then
      oldest, since = all[i], at
    end
  end
  redis.call('HDEL', KEYS[2], oldest)
end
return 1
