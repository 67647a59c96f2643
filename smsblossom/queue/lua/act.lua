-- Do something to one job. KEYS[1] queue. ARGV: verb · id · head start of normal jobs · bytes · keep ms.
-- Returns { state the job was in or nil, 1 if it was done }.
local queue, verb, id, head = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local state = state_of(queue, id)
local tag = redis.call('HGET', queue .. ':tags', id)
local verbs = {}

local function start_now()
    unplace(queue, id, tag)
    place(queue, id, tag, now, head)
    wake(queue)
    return 1
end

function verbs.remove()
    if state == 'active' then return 0 end
    forget(queue, id, tag)
    forget_end(queue, id)
    redis.call('DEL', CHILDREN .. id)
    return 1
end

function verbs.promote()
    if state == 'delayed' or state == 'failed' then return start_now() end
    return 0
end

-- A job that waits for its next attempt gets it now; a dead one starts again from its first.
function verbs.retry()
    if state == 'failed' then return start_now() end
    if state ~= 'dead' then return 0 end
    local grave = redis.call('HMGET', DEAD .. id, 'job', 'tag')
    forget_end(queue, id)
    redis.call('SET', JOB .. id, grave[1])
    tag = grave[2]
    if tag ~= '' then redis.call('HSET', queue .. ':tags', id, tag) end
    return start_now()
end

-- A running job is told to stop; one that waits ends here, with the result the caller made.
function verbs.abort()
    if state == 'active' then
        redis.call('ZADD', ABORT, now, id)
        redis.call('PUBLISH', queue .. ':wake', '')
        return 1
    end
    if state == 'waiting' or state == 'delayed' or state == 'failed' or state == 'blocked' then
        forget(queue, id, tag)
        redis.call('DEL', CHILDREN .. id)
        redis.call('ZADD', queue .. ':stopped', now, id)
        if tonumber(ARGV[5]) > 0 then redis.call('SET', RESULT .. id, ARGV[4], 'PX', ARGV[5]) end
        return 1
    end
    return 0
end

local done = verbs[verb]()
return { state or false, done }
