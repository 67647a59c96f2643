-- Remove jobs in bulk. KEYS[1] queue. ARGV: what (waiting, delayed, failed, completed, stopped, dead) · older than ms · limit.
-- `older` counts from the job's end, or, for those that wait, is not looked at. Returns how many went.
local queue, what, older, limit = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = {}

local function add(list) for i = 1, #list do ids[#ids + 1] = list[i] end end
local function left() return limit - #ids end

if what == 'waiting' then
    add(redis.call('ZRANGEBYSCORE', queue .. ':reserved', '-inf', now, 'LIMIT', 0, left()))
    for _, group in ipairs(redis.call('ZRANGE', queue .. ':parked', 0, -1)) do
        if left() > 0 then add(redis.call('ZRANGE', queue .. ':parked:' .. group, 0, left() - 1)) end
    end
    if left() > 0 then add(redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, left())) end
elseif what == 'delayed' then
    add(redis.call('ZRANGEBYSCORE', queue, '(' .. now, '+inf', 'LIMIT', 0, limit))
    if left() > 0 then add(redis.call('ZRANGE', queue .. ':blocked', 0, left() - 1)) end
else
    add(redis.call('ZRANGEBYSCORE', queue .. ':' .. what, '-inf', now - older, 'LIMIT', 0, limit))
end

local gone, looked = 0, #ids
for i = 1, #ids do
    local id = ids[i]
    local busy = redis.call('HEXISTS', queue .. ':active', id) == 1 or redis.call('EXISTS', LOCK .. id) == 1
    local retrying = what == 'delayed' and redis.call('ZSCORE', queue .. ':failed', id)
    if what == 'completed' or what == 'stopped' or what == 'dead' then
        forget_end(queue, id)
        gone = gone + 1
    elseif not busy and not retrying then
        forget(queue, id, redis.call('HGET', queue .. ':tags', id))
        redis.call('DEL', CHILDREN .. id)
        gone = gone + 1
    end
end
return { gone, looked }
