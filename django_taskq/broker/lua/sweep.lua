#!lua flags=allow-oom
-- sweep | keys: jobs live errors results reports ready running scheduled retrying waiting succeeded dead cancelled parked cancels holders claims wake timer meta ended asks locks lapses limits gated entered rates opens turns events | edges: new->ready new->running ready->dead running->dead scheduled->dead retrying->dead waiting->dead waiting->ready succeeded->gone cancelled->gone
--
-- Looks through one chunk of a queue for what no script leaves behind, and mends it. Looking and
-- mending are one step, so nothing that moves between two chunks is ever taken for lost: what is
-- seen here in no state is in no state now, and no other step would bring it back.
-- ARGV: now, place ("": go on where the queue's own walk stands, unless somebody did so just now),
--   cursor, about how many (at most 500), mend (1: also mends), retention of dead ms, failure (a JSON
--   line, for a job whose envelope has gone)
-- Reply: next place ("": that was the last, or it was not the time), next cursor, looked at, then
--   per finding: check, id
-- Sending the call again finds nothing that was mended. The checks are those of broker/sweep.py.

local now = clock(ARGV[1])
local place, cursor, count, mend = ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'
local retention, failure = tonumber(ARGV[6]), ARGV[7]
local STEP, REST = 200, 50000 -- ms from step to step of the own walk, and after its end
local BYTES = 1048576 -- of values read at a time, about
local MOST = 500 -- members to look at together: a small hash or set is answered whole

local SETS = { ready = ready, scheduled = scheduled, retrying = retrying, waiting = waiting,
  running = running, succeeded = succeeded, dead = dead, cancelled = cancelled }
local UNFINISHED = { 'ready', 'scheduled', 'retrying', 'waiting' }
local ENDED = { 'succeeded', 'dead', 'cancelled' }

local reply = { '', '0', 0 }
local tally = {}
local function found(check, id)
  reply[#reply + 1] = check
  reply[#reply + 1] = id
  tally[check] = (tally[check] or 0) + 1
end

-- reading --------------------------------------------------------------------------------------

-- Per id the states it is in, as a set of names.
local function homes_of(ids)
  local homes = {}
  for i = 1, #ids do homes[i] = {} end
  for name, set in pairs(SETS) do
    for i, score in ipairs(redis.call('ZMSCORE', set, unpack(ids))) do
      if score then homes[i][name] = true end
    end
  end
  return homes
end

local function has_envelope(id) return redis.call('HEXISTS', jobs, id) == 1 end
local function record_of(id) return read_live(redis.call('HGET', live, id)) end

-- The state that a job stays in which is in several: its record decides, then what loses nothing.
local function right_home(l, homes)
  if l.ended == 0 and homes.running and l.fence > l.settled then return 'running' end
  local first, second = UNFINISHED, ENDED
  if l.ended > 0 then first, second = ENDED, UNFINISHED end
  for _, name in ipairs(first) do if homes[name] then return name end end
  for _, name in ipairs(second) do if homes[name] then return name end end
  return 'running'
end

-- mending --------------------------------------------------------------------------------------

local function erase(id)
  for _, key in ipairs({ jobs, live, errors, results, reports, asks }) do redis.call('HDEL', key, id) end
  note({ id })
end

-- A job that cannot run: where a person sees it. Whoever runs it now is refused.
local function quarantine(id, homes)
  local asked = asks_of({ id })
  look_afresh()
  local place = { [id] = redis.call('ZSCORE', waiting, id) or nil }
  for name in pairs(homes) do
    local set = SETS[name]
    redis.call('ZREM', set, id)
  end
  local l = record_of(id)
  l.fence, l.ended, l.tail = l.fence + 1, now, ''
  l.settled = l.fence
  redis.call('HSET', live, id, pack_live(l))
  redis.call('HSET', errors, id, add_error(redis.call('HGET', errors, id), failure))
  redis.call('HDEL', cancels, id)
  if homes.running then leave({ id }, asked, {}, now) else step_out({ id }, place, asked, now) end
  unlock({ id }, asked, now)
  redis.call('ZADD', dead, now + math.max(retention, RESEND_WINDOW), id)
  redis.call('HINCRBY', meta, 'quarantined', 1)
  note({ id })
  redis.call('SPUBLISH', ended, id)
end

-- The place of a job at the end of the line.
local function back_in_line(id, l)
  local asked = asks_of({ id })
  local line = line_of(ready, gated, meta, turns, asked)
  local place = line.place(l.priority, asked[id])
  line.done()
  return place
end

-- A job that is in no state and has not ended. Its holder may be at it still: then it is running,
-- and the lease decides what comes next. What it waited for is not known any more.
local function restore(id, l)
  note({ id })
  if l.fence > l.settled then
    redis.call('ZADD', running, l.started * TICKS, id)
    for _, gate in ipairs((asks_of({ id })[id] or { gates = {} }).gates) do
      redis.call('ZADD', entered, 0, gate.name .. '\0' .. id)
    end
  else
    l.tail = ''
    if l.fence > 0 or l.priority ~= 0 or l.expires > 0 then redis.call('HSET', live, id, pack_live(l)) end
    redis.call('ZADD', ready, back_in_line(id, l), id)
  end
end

-- looking --------------------------------------------------------------------------------------

local look = {}

local function look_at_state(name, ids)
  local set = SETS[name]
  local homes = homes_of(ids)
  for i, id in ipairs(ids) do
    if homes[i][name] and not has_envelope(id) then
      if name == 'succeeded' or name == 'cancelled' then
        found('hollow', id)
        if mend then
          redis.call('ZREM', set, id)
          erase(id)
        end
      elseif name ~= 'dead' then -- among the dead it is in quarantine
        found('hollow', id)
        if mend then quarantine(id, homes[i]) end
      end
    elseif next(homes[i], next(homes[i])) and right_home(record_of(id), homes[i]) ~= name then
      found('double', id)
      if mend then
        redis.call('ZREM', set, id)
        note({ id })
      end
    end
  end
end
for name in pairs(SETS) do
  look[name] = function(ids) look_at_state(name, ids) end
end

function look.running(ids)
  look_at_state('running', ids)
  local owners = {}
  for i, raw in ipairs(redis.call('HMGET', live, unpack(ids))) do
    owners[i] = string.sub(read_live(raw).tail, 1, 22)
  end
  local leases = redis.call('ZMSCORE', holders, unpack(owners))
  local still = redis.call('ZMSCORE', running, unpack(ids))
  for i, id in ipairs(ids) do
    if still[i] and not leases[i] then found('unheld', id) end -- reclaim knows what to do
  end
end

-- Whether the job stands at one of the gates it asks for.
local function is_gated(id, ask, score)
  for _, gate in ipairs(ask and ask.gates or {}) do
    if redis.call('ZSCORE', gated, gated_name(gate.name, tonumber(score), id)) then return true end
  end
end

-- A parked job is found by its task's name, which park noted in its record; the others wait at a
-- gate.
function look.waiting(ids)
  look_at_state('waiting', ids)
  local still = redis.call('ZMSCORE', waiting, unpack(ids))
  local asked = asks_of(ids)
  for i, raw in ipairs(redis.call('HMGET', live, unpack(ids))) do
    local l, id = read_live(raw), ids[i]
    local at_gate = still[i] and is_gated(id, asked[id], still[i]) -- it may have been parked before
    local task = string.match(l.tail, '^' .. string.rep(' ', 22) .. '(%S+%.%S+) ')
    if still[i] and not at_gate and task then
      if not redis.call('ZSCORE', parked, task .. ' ' .. id) then
        found('nameless', id)
        if mend then redis.call('ZADD', parked, 0, task .. ' ' .. id) end
      end
    elseif still[i] and not at_gate then
      found('stranded', id)
      if mend then
        redis.call('ZREM', waiting, id)
        redis.call('ZADD', ready, back_in_line(id, l), id)
        note({ id })
      end
    end
  end
end

function look.jobs(ids)
  local homes = homes_of(ids)
  for i, id in ipairs(ids) do
    if not next(homes[i]) then
      local l = record_of(id)
      if l.ended == 0 then
        found('lost', id)
        if mend then restore(id, l) end
      elseif l.ended <= now - RESEND_WINDOW then -- until then its enqueue may be sent again
        found('remains', id)
        if mend then erase(id) end
      end
    end
  end
end

local function look_at_parts(ids)
  local homes = homes_of(ids)
  for i, id in ipairs(ids) do
    if not next(homes[i]) and not has_envelope(id) then
      found('debris', id)
      if mend then erase(id) end
    end
  end
end
look.live, look.errors, look.results = look_at_parts, look_at_parts, look_at_parts
look.reports, look.asks = look_at_parts, look_at_parts

-- A lock of a job that has ended, or is not there, unless it is to stay for a time.
function look.locks(names)
  for i, value in ipairs(redis.call('HMGET', locks, unpack(names))) do
    local id = value and string.match(value, '^%S+')
    local alive = false
    for _, state in ipairs({ 'running', 'ready', 'scheduled', 'retrying', 'waiting' }) do
      local set = SETS[state]
      alive = alive or (id and redis.call('ZSCORE', set, id))
    end
    local stays = value and string.find(value, ' ', 1, true)
    local orphaned = value and not alive and not stays
    if orphaned then found('locked', names[i]) end
    if mend and (orphaned or stays and not locked_by(value, now)) then
      redis.call('HDEL', locks, names[i])
    end
  end
end

-- The gate and the job in a member of `entered` or `gated`; there the place is between them.
local function parts_of(member, skip)
  local stop = string.find(member, '\0', 1, true) or #member
  return string.sub(member, 1, stop - 1), string.sub(member, stop + 1 + skip)
end

function look.entered(members)
  for _, member in ipairs(members) do
    local name, id = parts_of(member, 0)
    if not redis.call('ZSCORE', running, id) then
      found('entered', id)
      if mend then
        redis.call('ZREM', entered, member)
        look_afresh()
        open_named(name, 100, now)
      end
    end
  end
end

function look.gated(members)
  local asked_for = {}
  for _, member in ipairs(members) do
    local name, id = parts_of(member, 8)
    if not redis.call('ZSCORE', waiting, id) then
      found('ungated', id)
      if mend then redis.call('ZREM', gated, member) end
    elseif not asked_for[name] then
      asked_for[name] = true
      if mend then open_named(name, 100, now) end -- its limit may have been raised
    end
  end
end

-- Turns that are over: whoever comes next is not behind them any more.
function look.turns(names)
  local line = line_of(ready, gated, meta, turns, {})
  for i, turn in ipairs(redis.call('HMGET', turns, unpack(names))) do
    local priority, key = string.match(names[i], '^(%-?%d+):(.*)$')
    if mend and turn and key ~= '' and (not key or tonumber(turn) <= line.head(tonumber(priority))) then
      redis.call('HDEL', turns, names[i])
    end
  end
end

function look.rates(names)
  for i, score in ipairs(redis.call('ZMSCORE', rates, unpack(names))) do
    if mend and score and tonumber(score) <= now then redis.call('ZREM', rates, names[i]) end
  end
end

function look.parked(names)
  for _, name in ipairs(names) do
    local id = string.match(name, '^%S* (.*)$') or ''
    if not redis.call('ZSCORE', waiting, id) then
      found('unparked', name)
      if mend then redis.call('ZREM', parked, name) end
    end
  end
end

function look.cancels(ids)
  for i, score in ipairs(redis.call('ZMSCORE', running, unpack(ids))) do
    if not score then
      found('unasked', ids[i])
      if mend then redis.call('HDEL', cancels, ids[i]) end
    end
  end
end

function look.claims(names)
  for i, lease in ipairs(redis.call('ZMSCORE', holders, unpack(names))) do
    if not lease then
      found('claimless', names[i])
      if mend then redis.call('HDEL', claims, names[i]) end
    end
  end
end

function look.wake()
  if is_paused(meta, now) then return end -- nobody is to be woken
  if redis.call('LLEN', wake) ~= math.min(redis.call('ZCARD', ready), 1) then
    found('asleep', 'wake')
    if mend then redis.call('DEL', wake) end -- set anew below
  end
end

-- walking --------------------------------------------------------------------------------------

local function walk_zset(key) return redis.call('ZSCAN', key, cursor, 'COUNT', count) end
-- HSCAN brings the values along: where they are large, fewer at a time.
local heavy = false
local function walk_hash(key)
  local bytes, most = 0, tonumber(count)
  local some = redis.call('HRANDFIELD', key, 5)
  for _, field in ipairs(some) do bytes = bytes + redis.call('HSTRLEN', key, field) end
  if bytes * most > BYTES * #some then
    heavy, most = true, math.max(math.floor(BYTES * #some / bytes), 1)
  end
  return redis.call('HSCAN', key, cursor, 'COUNT', most)
end

-- place, how it is walked, its key; in the order they are looked through
local PLACES = {
  { 'ready', walk_zset, ready }, { 'running', walk_zset, running },
  { 'scheduled', walk_zset, scheduled }, { 'retrying', walk_zset, retrying },
  { 'waiting', walk_zset, waiting }, { 'succeeded', walk_zset, succeeded },
  { 'dead', walk_zset, dead }, { 'cancelled', walk_zset, cancelled },
  { 'jobs', walk_hash, jobs }, { 'live', walk_hash, live }, { 'errors', walk_hash, errors },
  { 'results', walk_hash, results }, { 'reports', walk_hash, reports }, { 'parked', walk_zset, parked },
  { 'cancels', walk_hash, cancels }, { 'claims', walk_hash, claims },
  { 'asks', walk_hash, asks }, { 'locks', walk_hash, locks }, { 'entered', walk_zset, entered },
  { 'gated', walk_zset, gated }, { 'turns', walk_hash, turns }, { 'rates', walk_zset, rates },
  { 'wake' },
}

local own = place == ''
if own then
  local free
  place, cursor, free = string.match(redis.call('HGET', meta, 'sweep') or '', '^(%S+) (%d+) (%d+)$')
  local wait = free and tonumber(free) - now or 0
  if wait > 0 and wait <= REST then return reply end -- more than that: the clock was set back
end
local at
for i, each in ipairs(PLACES) do
  if each[1] == place then at = i end
end
if not at then at, cursor = 1, '0' end -- the first walk, or a place of another release
for _ = 1, #PLACES do -- small places are looked through together; empty buckets cost a turn, too
  local name, walk, key = unpack(PLACES[at])
  local ids = {}
  if walk then
    local answer = walk(key)
    cursor = answer[1]
    for i = 1, #answer[2], 2 do ids[#ids + 1] = answer[2][i] end
  end
  for from = 1, math.max(#ids, walk and 0 or 1), MOST do
    look[name]({ unpack(ids, from, math.min(from + MOST - 1, #ids)) })
  end
  reply[3] = reply[3] + #ids
  if cursor == '0' then at = at + 1 end
  if reply[3] >= tonumber(count) or heavy or not PLACES[at] then break end
end
reply[1], reply[2] = PLACES[at] and PLACES[at][1] or '', cursor
if own then
  local next_step = string.format('%.0f', now + (PLACES[at] and STEP or REST))
  redis.call('HSET', meta, 'sweep', (PLACES[at] or PLACES[1])[1] .. ' ' .. cursor .. ' ' .. next_step)
end
if mend and next(tally) then
  for check, n in pairs(tally) do redis.call('HINCRBY', meta, 'swept_' .. check, n) end
  set_wake(wake, ready)
end
return reply
