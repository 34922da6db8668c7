-- Does once what the other scripts do, on keys of its own that it removes: is all of it allowed?
-- KEYS  1 a hash, 2 a sorted set, 3 a HyperLogLog, 4 another
-- returns 1
redis.call('HSETNX', KEYS[1], 'a', '1')
redis.call('HSET', KEYS[1], 'b', '2')
redis.call('HGET', KEYS[1], 'a')
redis.call('HMGET', KEYS[1], 'a', 'b')
redis.call('HGETALL', KEYS[1])
redis.call('HLEN', KEYS[1])
redis.call('HDEL', KEYS[1], 'b')
redis.call('PEXPIRE', KEYS[1], 60000)
redis.call('ZADD', KEYS[2], 'NX', 1, 'a')
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -2)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', 0)
redis.call('ZCARD', KEYS[2])
redis.call('PFADD', KEYS[3], 'a')
redis.call('PFMERGE', KEYS[4], KEYS[3])
redis.call('PFCOUNT', KEYS[4])
redis.call('DEL', unpack(KEYS))
return 1
