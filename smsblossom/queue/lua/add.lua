-- Add jobs. KEYS[1] queue. ARGV[1] head start of normal jobs, then six per job:
-- id · data · due (`` now, `+ms` from now, or ms) · tag · expiry (`` none, `+ms`) · how
--   how: `` fresh id · `id` the caller named it · `key;ms;name` unique by name for ms
-- Returns index, id of each job whose unique name already belongs to another.
local queue, head = KEYS[1], tonumber(ARGV[1])
local plain, kept = {}, {}

local function due_of(text)
    if text == '' then return now end
    if string.sub(text, 1, 1) == '+' then return now + tonumber(string.sub(text, 2)) end
    return tonumber(text)
end

for first = 2, #ARGV, 6 do
    local id, data, due_text, tag, expiry, how = unpack(ARGV, first, first + 5)
    local ms, name = string.match(how, '^key;(%d+);(.*)$')
    local wanted = true
    if name then
        local key = queue .. ':unique:' .. name
        local holder = redis.call('GET', key)
        if holder then
            kept[#kept + 1] = (first - 2) / 6
            kept[#kept + 1] = holder
            wanted = false
        else
            redis.call('SET', key, id, 'PX', ms)
        end
    end
    local added
    if wanted and expiry == '' then
        added = redis.call('SET', JOB .. id, data, 'NX')
    elseif wanted then
        added = redis.call('SET', JOB .. id, data, 'NX', 'PX', string.sub(expiry, 2))
    end
    if added then
        if how == 'id' then forget_end(queue, id) end
        local due = due_of(due_text)
        if tag ~= '' then redis.call('HSET', queue .. ':tags', id, tag) end
        if tag == '' and due <= now then
            plain[#plain + 1] = due - head
            plain[#plain + 1] = id
        else
            place(queue, id, tag, due, head)
        end
    end
end
many('ZADD', queue, plain)
wake(queue)
return kept
