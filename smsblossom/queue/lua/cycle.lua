-- One turn of a worker: write down what ended, then claim what may start. One call, atomic.
-- KEYS[1] queue
-- ARGV[1] ended well: cmsgpack {owner = {ids}}        ARGV[2] how to claim: cmsgpack map, see Turn in turn.py
-- ARGV[3] number of results, then three each:          id · keep ms (0 for ever) · bytes
-- after them the other endings, six each:              id · owner · verb · number · text · bytes
-- Returns { now, next due ms or 0, again, lost ids, abort marks, ids, scores, data and attempts, from reserved, stalls }
local queue = KEYS[1]
local active = queue .. ':active'
local turn = cmsgpack.unpack(ARGV[2])
local head = turn.head
local lost = {}

local function count(name, by)
    if turn.counts and by > 0 then redis.call('HINCRBY', queue .. ':totals', name, by) end
end

-- ---------------------------------------------------------------- endings

local function keep_result(id, keep_ms, bytes)
    if tonumber(keep_ms) > 0 then
        redis.call('SET', RESULT .. id, bytes, 'PX', keep_ms)
    else
        redis.call('SET', RESULT .. id, bytes)
    end
end

local function end_well(owner, ids, results, ended)
    local owners, mine, keys = {}, {}, {}
    for first = 1, #ids, CHUNK do
        local page = redis.call('HMGET', active, unpack(ids, first, math.min(first + CHUNK - 1, #ids)))
        for i = 1, #page do owners[first + i - 1] = page[i] end
    end
    for i = 1, #ids do
        local id = ids[i]
        if owners[i] == owner then
            mine[#mine + 1] = id
            keys[#keys + 1] = JOB .. id
            keys[#keys + 1] = LOCK .. id
            keys[#keys + 1] = RETRY .. id
            keys[#keys + 1] = META .. id
            local result = results[id]
            if result then
                keep_result(id, result[1], result[2])
                ended[#ended + 1] = now
                ended[#ended + 1] = id
            end
        else
            lost[#lost + 1] = id
        end
    end
    if #mine == 0 then return 0 end
    if redis.call('EXISTS', queue .. ':tags') == 1 then
        for i = 1, #mine do free_slot(queue, mine[i], redis.call('HGET', queue .. ':tags', mine[i])) end
        many('HDEL', queue .. ':tags', mine)
        many('ZREM', queue .. ':reserved', mine)
    end
    delete(keys)
    many('ZREM', queue, mine)
    many('HDEL', active, mine)
    if redis.call('EXISTS', ABORT) == 1 then many('ZREM', ABORT, mine) end
    return #mine
end

local verbs = {}

-- Ended well, with more to do than a plain job: a kept lock (number: ms, arq's cron) or a parent (text).
function verbs.done(id, tag, number, text)
    forget(queue, id, tag)
    if number > 0 then redis.call('SET', LOCK .. id, '1', 'PX', number) end
    local parent_queue, parent = string.match(text, '^(.-) (.*)$')
    if parent then child_done(parent_queue, parent, id, head) end
    count('completed', 1)
end

-- Again in `number` ms; `text` is how many attempts there were, `bytes` the error.
function verbs.retry(id, tag, number, text, bytes)
    redis.call('SET', RETRY .. id, text, 'EX', 90 * 86400)
    if turn.counts then
        redis.call('HSET', META .. id, 'updated', now)
        if bytes ~= '' then redis.call('HSET', META .. id, 'error', bytes) end
        redis.call('HSETNX', META .. id, 'first_failed', now)
    end
    place(queue, id, tag, now + number, head)
    if turn.counts and number > 0 then redis.call('ZADD', queue .. ':failed', now, id) end
    count('retried', 1)
end

-- Given back without an attempt, to the place it had: `text` is its score.
function verbs.release(id, tag, _, text)
    local _, own_head = split_tag(tag)
    place(queue, id, tag, math.min(now, tonumber(text) + (own_head and tonumber(own_head) or head)), head)
end

-- Given back because this release does not know the function. `text` is how long the job may stay unknown, in ms;
-- `bytes` what to bury it with after that.
function verbs.unknown(id, tag, number, text, bytes)
    redis.call('HSETNX', META .. id, 'unknown_since', now)
    if now - tonumber(redis.call('HGET', META .. id, 'unknown_since')) >= tonumber(text) then
        bury(queue, id, tag, bytes)
    else
        place(queue, id, tag, now + number, head)
    end
end

-- Given up after `number` attempts. `text` is the waiting parent, `bytes` the error.
function verbs.dead(id, tag, number, text, bytes)
    redis.call('SET', RETRY .. id, number)
    bury(queue, id, tag, bytes)
    local parent_queue, parent = string.match(text, '^(.-) (.*)$')
    if parent then child_failed(parent_queue, parent, bytes) end
end

-- Ended without success and without a dead letter.
function verbs.stop(id, tag, _, text, bytes)
    forget(queue, id, tag)
    if turn.counts then redis.call('ZADD', queue .. ':stopped', now, id) end
    count('stopped', 1)
    local parent_queue, parent = string.match(text, '^(.-) (.*)$')
    if parent then child_failed(parent_queue, parent, bytes) end
end

local function end_otherwise(first, results, ended)
    for i = first, #ARGV, 6 do
        local id, owner, verb, number, text, bytes = unpack(ARGV, i, i + 5)
        if redis.call('HGET', active, id) == owner then
            local tag = redis.call('HGET', queue .. ':tags', id)
            free_slot(queue, id, tag)
            redis.call('DEL', LOCK .. id)
            verbs[verb](id, tag, tonumber(number), text, bytes)
            local result = results[id]
            if result then keep_result(id, result[1], result[2]) end
            if result and verb == 'done' then
                ended[#ended + 1] = now
                ended[#ended + 1] = id
            end
        else
            lost[#lost + 1] = id
        end
    end
end

local function write_endings()
    local results, ended, completed = {}, {}, 0
    local first_other = 4 + tonumber(ARGV[3]) * 3
    for i = 4, first_other - 1, 3 do results[ARGV[i]] = { ARGV[i + 1], ARGV[i + 2] } end
    if ARGV[1] ~= '' then
        for owner, ids in pairs(cmsgpack.unpack(ARGV[1])) do
            completed = completed + end_well(owner, ids, results, ended)
        end
    end
    end_otherwise(first_other, results, ended)
    count('completed', completed)
    if turn.counts and #ended > 0 then
        many('ZADD', queue .. ':completed', ended)
        redis.call('ZREMRANGEBYSCORE', queue .. ':completed', '-inf', now - turn.keep)
    end
end

-- ---------------------------------------------------------------- limits

-- Buckets and groups are read once per turn, counted down here, and written once at the end.
local buckets, groups = {}, {}

local function bucket(key, limit, per)
    local known = buckets[key]
    if known then return known end
    local stored = redis.call('HMGET', key, 'tokens', 'at')
    local left = limit
    if stored[1] then
        left = math.min(limit, tonumber(stored[1]) + (now - tonumber(stored[2])) * limit / per)
    end
    known = { left = left, limit = limit, per = per, used = false }
    buckets[key] = known
    return known
end

local function spend(one, number)
    one.left = one.left - number
    one.used = true
end

local function until_next(one)
    return now + math.max(1, math.ceil((1 - one.left) * one.per / one.limit))
end

local function write_buckets()
    for key, one in pairs(buckets) do
        if one.used then
            redis.call('HSET', key, 'tokens', one.left, 'at', now)
            redis.call('PEXPIRE', key, math.ceil(one.per) * 2)
        end
    end
end

-- A group's limits: the free slots it had (nil: no such limit) and its bucket (nil: no rate).
local function group_of(name)
    local known = groups[name]
    if known ~= nil then return known end
    local kind = string.match(name, '^[^:]*')
    local set = redis.call('HMGET', queue .. ':limits', name, kind)
    local limit = turn.groups[kind]
    local text = set[1] or set[2]
    if text then
        local slots, number, per = string.match(text, '^(%d*);(%d*);(%d*)$')
        limit = { slots = tonumber(slots), count = tonumber(number), per = tonumber(per) }
    end
    known = {}
    if limit and limit.slots then
        known.slots = limit.slots - redis.call('SCARD', queue .. ':running:' .. name)
    end
    if limit and limit.count then
        known.bucket = bucket(queue .. ':bucket:' .. name, limit.count, limit.per)
    end
    groups[name] = known
    return known
end

-- How many jobs of the group may start now, and when to look again if none.
local function room(group)
    if group.bucket and group.bucket.left < 1 then return 0, until_next(group.bucket) end
    local free = math.min(group.slots or math.huge, group.bucket and math.floor(group.bucket.left) or math.huge)
    return free, now + turn.lease
end

-- ---------------------------------------------------------------- claiming

local owner = turn.worker .. ':' .. now
local ids, scores, owners, from_reserved, stalls = {}, {}, {}, {}, {}
-- Running jobs stay in their lane's set, with the end of their lease as score: expiry is the way back to the queue.
local leases = { ['-'] = {}, r = {} }
local again = 0

local function promote_due()
    local due = redis.call('ZRANGEBYSCORE', queue .. ':later', '-inf', now, 'WITHSCORES', 'LIMIT', 0, 500)
    for i = 1, #due, 2 do
        local id = due[i]
        redis.call('ZREM', queue .. ':later', id)
        redis.call('ZREM', queue .. ':failed', id)
        local score = redis.call('ZSCORE', queue, id)
        if score and tonumber(score) <= now then
            place(queue, id, redis.call('HGET', queue .. ':tags', id), tonumber(due[i + 1]), head)
        end
    end
    if #due == 1000 then again = 1 end
end

-- After the server restarted, leases of living workers may have run out while nobody could renew them (meet.lua).
local function in_grace()
    return turn.guard and now < tonumber(redis.call('HGET', turn.guard, 'until') or 0)
end

-- A job whose owner let the lease run out. Returns whether it may be taken; counts the stall if so.
local function is_orphan(id, home)
    local lease = redis.call('PTTL', LOCK .. id)
    if lease > 0 then
        redis.call('ZADD', home, 'XX', now + lease, id) -- a stock abort() moved it to the front
        return false
    end
    if in_grace() then
        redis.call('ZADD', home, 'XX', now + 250, id)
        return false
    end
    local tag = redis.call('HGET', queue .. ':tags', id)
    local _, _, name = split_tag(tag)
    free_slot(queue, id, tag)
    if groups[name] and groups[name].slots then groups[name].slots = groups[name].slots + 1 end
    stalls[#stalls + 1] = id
    stalls[#stalls + 1] = redis.call('HINCRBY', META .. id, 'stalls', 1)
    count('stalled', 1)
    return true
end

local function park(lane, group, id, score, home, when)
    redis.call('ZREM', home, id)
    redis.call('ZADD', parking(queue, lane, group), score, id)
    redis.call('ZADD', queue .. ':parked', 'NX', when, lane .. group)
end

local function take(id, score, home, lane, group)
    if not redis.call('SET', LOCK .. id, owner, 'PX', turn.lease, 'NX') then return false end
    local lane_home = lane == 'r' and queue .. ':reserved' or queue
    if home ~= lane_home then redis.call('ZREM', home, id) end
    if lane == 'r' then from_reserved[#from_reserved + 1] = id end
    if group ~= '' then
        local one = group_of(group)
        redis.call('SADD', queue .. ':running:' .. group, id)
        if one.slots then one.slots = one.slots - 1 end
        if one.bucket then spend(one.bucket, 1) end
    end
    ids[#ids + 1] = id
    scores[#scores + 1] = score
    local moves = leases[lane]
    moves[#moves + 1] = now + turn.lease
    moves[#moves + 1] = id
    owners[#owners + 1] = id
    owners[#owners + 1] = owner
    return true
end

-- Candidates of one sorted set, oldest first, as {score, id, home, lane, member of `parked`}.
local function add_candidates(into, home, offset, limit, lane, member)
    local page = redis.call('ZRANGEBYSCORE', home, '-inf', now, 'WITHSCORES', 'LIMIT', offset, limit)
    for i = 1, #page, 2 do into[#into + 1] = { tonumber(page[i + 1]), page[i], home, lane, member } end
end

local function parked_candidates(into, limit, with_plain)
    local due = redis.call('ZRANGEBYSCORE', queue .. ':parked', '-inf', now, 'LIMIT', 0, 64)
    for _, member in ipairs(due) do
        local lane, group = string.sub(member, 1, 1), string.sub(member, 2)
        local home = parking(queue, lane, group)
        local free, when = room(group_of(group))
        if redis.call('EXISTS', home) == 0 then
            redis.call('ZREM', queue .. ':parked', member)
        elseif free < 1 then
            redis.call('ZADD', queue .. ':parked', when, member)
        elseif lane == 'r' or with_plain then
            add_candidates(into, home, 0, math.min(free, limit), lane, member)
        end
    end
    if #due == 64 then again = 1 end
end

local function known(list, command, key)
    local values = {}
    for first = 1, #list, CHUNK do
        local names = {}
        for i = first, math.min(first + CHUNK - 1, #list) do names[#names + 1] = list[i][2] end
        local page = redis.call(command, key, unpack(names))
        for i = 1, #page do values[first + i - 1] = page[i] end
    end
    return values
end

local general = turn.general
local fleet = turn.fleet and (turn.fleet - redis.call('HLEN', active)) or math.huge

-- Try one candidate. Returns 'taken', 'moved' (it is elsewhere now), or 'stays'.
local function try(candidate, its_owner, tag)
    local score, id, home, lane, parked_member = unpack(candidate, 1, 5)
    local tag_lane, _, group = split_tag(tag)
    lane = lane or tag_lane
    if lane ~= 'r' and general < 1 then return 'stays' end
    local orphan = false
    if its_owner then
        if not is_orphan(id, home) then return 'moved' end
        orphan = true
    elseif fleet < 1 then
        return 'stays'
    end
    if group ~= '' and not orphan then
        local free, when = room(group_of(group))
        if free < 1 then
            if not parked_member then park(lane, group, id, score, home, when) end
            redis.call('ZADD', queue .. ':parked', 'XX', when, lane .. group)
            return 'moved'
        end
    end
    if not take(id, score, home, lane, group) then return 'stays' end
    if not its_owner then fleet = fleet - 1 end
    if lane ~= 'r' then general = general - 1 end
    return 'taken'
end

-- One pass over the heads of all places. Returns how many were taken or moved, and how many stay in the queue's head.
local function pass(want, offset, page)
    local found = {}
    local sides = redis.call('EXISTS', queue .. ':reserved', queue .. ':parked')
    if sides > 0 then
        add_candidates(found, queue .. ':reserved', 0, want, 'r', nil)
        parked_candidates(found, want, general > 0)
    end
    add_candidates(found, queue, offset, page, nil, nil)
    if #found == 0 then return 0, 0, 0 end
    if sides > 0 then table.sort(found, function(a, b) return a[1] < b[1] end) end
    local its_owners = known(found, 'HMGET', active)
    local tags = redis.call('EXISTS', queue .. ':tags') == 1 and known(found, 'HMGET', queue .. ':tags') or {}
    local done, stay = 0, 0
    for i = 1, #found do
        if #ids >= turn.want then break end
        local answer = try(found[i], its_owners[i], tags[i])
        if answer ~= 'stays' then done = done + 1 elseif found[i][3] == queue then stay = stay + 1 end
    end
    -- Now, or the next pass would meet the same jobs again.
    many('ZADD', queue, leases['-'])
    many('ZADD', queue .. ':reserved', leases.r)
    many('HSET', active, owners)
    leases, owners = { ['-'] = {}, r = {} }, {}
    return done, stay, #found
end

local function next_due()
    local soonest = redis.call('ZRANGEBYSCORE', queue, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local reserved = redis.call('ZRANGEBYSCORE', queue .. ':reserved', '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    local parked = redis.call('ZRANGE', queue .. ':parked', 0, 0, 'WITHSCORES')[2]
    if reserved and (not soonest or tonumber(reserved) < tonumber(soonest)) then soonest = reserved end
    if parked and (not soonest or tonumber(parked) < tonumber(soonest)) then soonest = parked end
    return soonest and tonumber(soonest) or 0
end

local function claim()
    promote_due()
    local own = turn.rate and bucket(queue .. ':bucket', turn.rate.count, turn.rate.per)
    if own then turn.want = math.min(turn.want, math.floor(own.left)) end
    local due, looked, offset, page = 0, 0, 0, turn.want
    while #ids < turn.want do
        local done, stay, found = pass(turn.want - #ids, offset, page)
        looked = looked + found
        offset = offset + stay
        page = math.min(page * 2, 512)
        if found == 0 or (done == 0 and (stay == 0 or general < 1 or fleet < 1)) then break end
        if looked >= turn.budget then again = 1 break end
    end
    if own then
        spend(own, #ids)
        if own.left < 1 then due = until_next(own) end
    end
    write_buckets()
    if due > 0 then return due end
    if #ids < turn.want then
        if turn.counts then redis.call('SET', queue .. ':idle', '1', 'PX', 60000) end
        return next_due()
    end
    return 0
end

write_endings()
local due = 0
if turn.want > 0 and redis.call('EXISTS', queue .. ':paused') == 0 then due = claim() end

local data, keys = {}, {}
for i = 1, #ids do
    keys[#keys + 1] = JOB .. ids[i]
    keys[#keys + 1] = RETRY .. ids[i]
end
for first = 1, #keys, CHUNK do
    local page = redis.call('MGET', unpack(keys, first, math.min(first + CHUNK - 1, #keys)))
    if #keys <= CHUNK then data = page else for i = 1, #page do data[first + i - 1] = page[i] end end
end
local marks = {}
if turn.aborts and redis.call('EXISTS', ABORT) == 1 then
    redis.call('ZREMRANGEBYSCORE', ABORT, '-inf', now - 86400000)
    marks = redis.call('ZRANGE', ABORT, 0, 1000, 'WITHSCORES')
end
return { now, due, again, lost, marks, ids, scores, data, from_reserved, stalls }
