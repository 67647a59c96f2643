-- Shared by every script: names of keys, the server's clock, and the few moves a job can make.
-- All scripts run on one Redis (or its Sentinel fail-over): keys are computed, so Redis Cluster is out.
local JOB, LOCK, RETRY, RESULT = 'arq:job:', 'arq:in-progress:', 'arq:retry:', 'arq:result:'
local META, DEAD, CHILDREN, ABORT = 'arq:meta:', 'arq:dead:', 'arq:children:', 'arq:abort'
local CHUNK = 1000 -- Lua's unpack has a limit of some thousands

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function many(command, key, list)
    for first = 1, #list, CHUNK do
        redis.call(command, key, unpack(list, first, math.min(first + CHUNK - 1, #list)))
    end
end

local function delete(list)
    for first = 1, #list, CHUNK do
        redis.call('DEL', unpack(list, first, math.min(first + CHUNK - 1, #list)))
    end
end

-- tag: `lane;head start;group`; a job without one is in the plain lane with the normal head start
local function split_tag(tag)
    if not tag or tag == '' then return '-', nil, '' end
    return string.match(tag, '^(.-);(.-);(.*)$')
end

-- Where the jobs of a group at its limit wait, by lane, so that urgent ones are never behind plain ones.
local function parking(queue, lane, group) return queue .. ':parked:' .. lane .. group end

local function wake(queue)
    if redis.call('DEL', queue .. ':idle') == 1 then redis.call('PUBLISH', queue .. ':wake', '') end
end

-- Put a job where it waits. A job not yet due is in the queue (where stock arq looks) and in `later`;
-- a due one is in the queue, or in `reserved`, or parked with its group.
local function place(queue, id, tag, due, head)
    local lane, own_head, group = split_tag(tag)
    local home, score = queue, due
    if due <= now then
        score = due - (own_head and tonumber(own_head) or head)
        if group ~= '' and redis.call('EXISTS', parking(queue, lane, group)) == 1 then
            home = parking(queue, lane, group)
        elseif lane == 'r' then
            home = queue .. ':reserved'
        end
    else
        redis.call('ZADD', queue .. ':later', due, id)
    end
    if home ~= queue then redis.call('ZREM', queue, id) end
    if lane == 'r' and home ~= queue .. ':reserved' then redis.call('ZREM', queue .. ':reserved', id) end
    redis.call('ZADD', home, score, id)
end

-- Take a job out of every place where it may wait or be indexed.
local function unplace(queue, id, tag)
    local lane, _, group = split_tag(tag)
    redis.call('ZREM', queue, id)
    redis.call('ZREM', queue .. ':later', id)
    redis.call('ZREM', queue .. ':failed', id)
    redis.call('ZREM', queue .. ':reserved', id)
    redis.call('ZREM', queue .. ':blocked', id)
    if group ~= '' then redis.call('ZREM', parking(queue, lane, group), id) end
end

-- A running job leaves its slot. Its group, if parked, may be looked at again at once.
local function free_slot(queue, id, tag)
    redis.call('HDEL', queue .. ':active', id)
    local _, _, group = split_tag(tag)
    if group ~= '' then
        redis.call('SREM', queue .. ':running:' .. group, id)
        redis.call('ZADD', queue .. ':parked', 'XX', now, '-' .. group, now, 'r' .. group)
    end
end

-- The end of a job's life: nothing of it stays but what the caller writes next.
local function forget(queue, id, tag)
    unplace(queue, id, tag)
    redis.call('DEL', JOB .. id, LOCK .. id, RETRY .. id, META .. id)
    redis.call('HDEL', queue .. ':tags', id)
    redis.call('ZREM', ABORT, id)
end

-- What an earlier run of the same id left behind, before it is added again.
local function forget_end(queue, id)
    redis.call('DEL', RESULT .. id, DEAD .. id)
    redis.call('ZREM', queue .. ':completed', id)
    redis.call('ZREM', queue .. ':stopped', id)
    redis.call('ZREM', queue .. ':dead', id)
end

-- Move a job to the dead: its data, its error and its history in one hash, until the dead letters have it.
local function bury(queue, id, tag, failure)
    local attempts = redis.call('GET', RETRY .. id) or '0'
    local meta = redis.call('HMGET', META .. id, 'stalls', 'first_failed')
    redis.call('DEL', DEAD .. id)
    redis.call('HSET', DEAD .. id, 'job', redis.call('GET', JOB .. id) or '', 'failure', failure, 'tag', tag or '',
        'attempts', attempts, 'stalls', meta[1] or '0', 'first_failed', meta[2] or now, 'last_failed', now)
    forget(queue, id, tag)
    redis.call('ZADD', queue .. ':dead', now, id)
    redis.call('HINCRBY', queue .. ':totals', 'dead', 1)
end

local function child_done(parent_queue, parent, child, head)
    if redis.call('SREM', CHILDREN .. parent, child) == 1 and redis.call('EXISTS', CHILDREN .. parent) == 0 then
        if redis.call('ZREM', parent_queue .. ':blocked', parent) == 1 then
            local due = tonumber(redis.call('HGET', META .. parent, 'due') or now)
            local tag = redis.call('HGET', parent_queue .. ':tags', parent)
            place(parent_queue, parent, tag, math.max(due, now), head)
            wake(parent_queue)
        end
    end
end

-- A child that ended without success takes its waiting parent along, so that no parent waits for ever.
local function child_failed(parent_queue, parent, failure)
    redis.call('DEL', CHILDREN .. parent)
    if redis.call('ZSCORE', parent_queue .. ':blocked', parent) then
        bury(parent_queue, parent, redis.call('HGET', parent_queue .. ':tags', parent), failure)
    end
end

-- In which state a job is, or nil when nothing is known of it.
local function state_of(queue, id)
    if redis.call('HEXISTS', queue .. ':active', id) == 1 then return 'active' end
    local alive = redis.call('EXISTS', JOB .. id) == 1
    if alive and redis.call('EXISTS', LOCK .. id) == 1 then return 'active' end
    if redis.call('ZSCORE', queue .. ':failed', id) then return 'failed' end
    if redis.call('ZSCORE', queue .. ':blocked', id) then return 'blocked' end
    local score = redis.call('ZSCORE', queue, id)
    if score then return tonumber(score) > now and 'delayed' or 'waiting' end
    if redis.call('ZSCORE', queue .. ':reserved', id) then return 'waiting' end
    local lane, _, group = split_tag(redis.call('HGET', queue .. ':tags', id))
    if group ~= '' and redis.call('ZSCORE', parking(queue, lane, group), id) then return 'waiting' end
    if redis.call('ZSCORE', queue .. ':dead', id) then return 'dead' end
    if redis.call('ZSCORE', queue .. ':stopped', id) then return 'stopped' end
    if redis.call('EXISTS', RESULT .. id) == 1 then return 'completed' end
    return nil
end
