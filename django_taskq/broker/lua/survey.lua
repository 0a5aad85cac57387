#!lua flags=allow-oom
-- survey | keys: jobs live errors results ready running scheduled retrying waiting succeeded dead cancelled parked gated holders claims meta | edges: none
--
-- What an operator sees of a queue at one moment, however large it is.
-- ARGV: now, how many holders to pass over, how many to name (at most 100), how many parked task
--   names (at most 100)
-- Reply: now, counts (name and number in turn), the numbers and texts of meta, the ready job that
--   goes next, its envelope ("" if none; of a long one the head) and "" or a long one's tail, ms since
--   the first scheduled or retrying job was due (0: none is), holders (each with the end of its
--   lease), parked task names (each with its count)

local now = clock(ARGV[1])
local skip, most, names = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local counts = {}
for name, set in pairs({ ready = ready, running = running, scheduled = scheduled,
  retrying = retrying, waiting = waiting, succeeded = succeeded, dead = dead,
  cancelled = cancelled, parked = parked, gated = gated, holders = holders }) do
  counts[#counts + 1] = name
  counts[#counts + 1] = redis.call('ZCARD', set)
end
for name, key in pairs({ jobs = jobs, live = live, errors = errors, results = results,
  claims = claims }) do
  counts[#counts + 1] = name
  counts[#counts + 1] = redis.call('HLEN', key)
end
counts[#counts + 1] = 'lapsed'
counts[#counts + 1] = redis.call('ZCOUNT', holders, '-inf', now)

local facts = redis.call('HMGET', meta, 'paused', 'trimmed', 'quarantined', 'renewed')
for i = 1, #facts do facts[i] = facts[i] or '' end

local first = redis.call('ZRANGE', ready, 0, 0)[1] or ''
local envelope = first ~= '' and redis.call('HGET', jobs, first) or ''
local rest = ''
if #envelope > 16384 then -- only its times are looked for
  envelope, rest = string.sub(envelope, 1, 4096), string.sub(envelope, -4096)
end

local late = 0
for _, set in ipairs({ scheduled, retrying }) do
  local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if head[2] then late = math.max(late, now - tonumber(head[2])) end
end

local tasks, cursor = {}, ''
while #tasks < names * 2 do
  local found = redis.call('ZRANGE', parked, '(' .. cursor, '+', 'BYLEX', 'LIMIT', 0, 1)
  if #found == 0 then break end
  local name = string.match(found[1], '^%S*')
  cursor = name .. '!' -- the first string behind all of "name id"
  tasks[#tasks + 1] = name
  tasks[#tasks + 1] = redis.call('ZLEXCOUNT', parked, '[' .. name, '(' .. cursor)
end

return { now, counts, facts, first, { envelope, rest }, late,
  redis.call('ZRANGE', holders, skip, skip + most - 1, 'WITHSCORES'), tasks }
