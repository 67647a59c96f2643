-- How far a running job is. KEYS[1] queue. ARGV: id · owner · fraction · note. Returns 1, or 0 when it is not ours.
if redis.call('HGET', KEYS[1] .. ':active', ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', META .. ARGV[1], 'progress', ARGV[3], 'note', ARGV[4], 'updated', now)
return 1
