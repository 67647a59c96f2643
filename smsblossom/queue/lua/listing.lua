-- Ids of jobs in one state. KEYS[1] queue. ARGV: state · offset · limit.
local queue, state, offset, limit = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found, seen, walked = {}, 0, 0
local WALK = 100000 -- a page so far down the list is refused rather than paid for

local function offer(id, wanted)
    walked = walked + 1
    if not wanted then return end
    seen = seen + 1
    if seen > offset and #found < limit then found[#found + 1] = id end
end

local function full() return #found >= limit or walked >= WALK end

local function walk(key, low, high, wanted)
    local at = 0
    while not full() do
        local page = redis.call('ZRANGEBYSCORE', key, low, high, 'LIMIT', at, 500)
        for i = 1, #page do
            if full() then return end
            offer(page[i], wanted(page[i]))
        end
        if #page < 500 then return end
        at = at + 500
    end
end

local function any() return true end
local function idle(id) return redis.call('HEXISTS', queue .. ':active', id) == 0 end
local function delayed(id) return idle(id) and not redis.call('ZSCORE', queue .. ':failed', id) end

local lists = {}
function lists.waiting()
    walk(queue .. ':reserved', '-inf', now, idle)
    walk(queue, '-inf', now, idle)
    for _, group in ipairs(redis.call('ZRANGE', queue .. ':parked', 0, -1)) do
        walk(queue .. ':parked:' .. group, '-inf', '+inf', any)
    end
end
function lists.active()
    local ids = redis.call('HKEYS', queue .. ':active')
    table.sort(ids)
    for i = 1, #ids do offer(ids[i], true) end
end
function lists.delayed()
    walk(queue, '(' .. now, '+inf', delayed)
    walk(queue .. ':blocked', '-inf', '+inf', any)
end
function lists.failed()
    walk(queue .. ':failed', '-inf', '+inf', any)
    walk(queue .. ':stopped', '-inf', '+inf', any)
end
function lists.completed() walk(queue .. ':completed', '-inf', '+inf', any) end
function lists.dead() walk(queue .. ':dead', '-inf', '+inf', any) end

lists[state]()
return found
