-- This worker lives. KEYS[1] queue. ARGV: worker id · `leave` when it goes.
if ARGV[2] == 'leave' then return redis.call('ZREM', KEYS[1] .. ':workers', ARGV[1]) end
return redis.call('ZADD', KEYS[1] .. ':workers', now, ARGV[1])
