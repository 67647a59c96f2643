-- Add a parent that starts when its children are done. KEYS[1] the parent's queue.
-- ARGV: 1 head start of normal jobs · 2 id · 3 data · 4 due (ms or ``) · 5 tag · 6.. ids of the children.
-- Called before the children are added, so that none of them can end unseen. Returns 1, or 0 if the id is taken.
local queue, id = KEYS[1], ARGV[2]
if not redis.call('SET', JOB .. id, ARGV[3], 'NX') then return 0 end
forget_end(queue, id)
if ARGV[5] ~= '' then redis.call('HSET', queue .. ':tags', id, ARGV[5]) end
redis.call('SADD', CHILDREN .. id, unpack(ARGV, 6))
redis.call('HSET', META .. id, 'due', ARGV[4] == '' and now or ARGV[4])
redis.call('ZADD', queue .. ':blocked', now, id)
return 1
