-- Remembers that a deployment was restored, unless there is one.
-- KEYS  1 meta
-- ARGV  1 first start (ms since 1970), 2 shards, 3 epoch, 4 when it was restored (ms since 1970)
-- returns 1, or 0 if there is one
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'first_start', ARGV[1], 'shards', ARGV[2], 'epoch', ARGV[3], 'restored', ARGV[4])
return 1
