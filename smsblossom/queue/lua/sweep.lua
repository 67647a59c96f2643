-- Put right what a stock worker, a flush or an operator left askew. KEYS[1] queue. ARGV: keep stopped ms · failure of
-- a parent whose child is gone. Looks at a part each time; returns how much it mended.
local queue, mended = KEYS[1], 0

local cursor = redis.call('GET', queue .. ':sweep') or '0'
local page = redis.call('HSCAN', queue .. ':active', cursor, 'COUNT', 500)
redis.call('SET', queue .. ':sweep', page[1], 'EX', 3600)
for i = 1, #page[2], 2 do
    local id = page[2][i]
    if not redis.call('ZSCORE', queue, id) and not redis.call('ZSCORE', queue .. ':reserved', id) then
        free_slot(queue, id, redis.call('HGET', queue .. ':tags', id))
        redis.call('HDEL', queue .. ':tags', id)
        mended = mended + 1
    end
end

for _, member in ipairs(redis.call('ZRANGE', queue .. ':parked', 0, 200)) do
    local group = string.sub(member, 2)
    for _, id in ipairs(redis.call('SMEMBERS', queue .. ':running:' .. group)) do
        if redis.call('HEXISTS', queue .. ':active', id) == 0 then
            redis.call('SREM', queue .. ':running:' .. group, id)
            redis.call('ZADD', queue .. ':parked', 'XX', now, member)
            mended = mended + 1
        end
    end
end

-- A completed child has left its parent's list; one that is on it and has no data any more ended otherwise.
for _, parent in ipairs(redis.call('ZRANGEBYSCORE', queue .. ':blocked', '-inf', now - 60000, 'LIMIT', 0, 100)) do
    for _, child in ipairs(redis.call('SMEMBERS', CHILDREN .. parent)) do
        if redis.call('EXISTS', JOB .. child) == 0 then
            child_failed(queue, parent, ARGV[2])
            mended = mended + 1
            break
        end
    end
end

redis.call('ZREMRANGEBYSCORE', queue .. ':stopped', '-inf', now - tonumber(ARGV[1]))
redis.call('ZREMRANGEBYSCORE', queue .. ':completed', '-inf', now - tonumber(ARGV[1]))
redis.call('ZREMRANGEBYSCORE', queue .. ':workers', '-inf', now - 3600000)
return mended
