#!lua flags=allow-oom
-- exchange | keys: jobs live errors results reports ready running scheduled retrying waiting succeeded dead cancelled cancels holders claims wake timer meta ended asks locks lapses limits gated entered rates opens turns counting counts events | edges: ready->running ready->dead ready->waiting waiting->ready running->succeeded running->retrying running->dead running->cancelled running->scheduled running->ready succeeded->gone dead->gone cancelled->gone
--
-- Settles N jobs and claims M in one step: the whole of a worker's work with Redis. A job whose
-- limits have no room is not claimed but waits at their gate (see gating.lua).
-- ARGV: now, holder, lease ms, first (1: register the holder), request, resent (1: it was sent
--   before), want, lean (1: trim faster, keep no events), keep of succeeded, dead, cancelled,
--   dead retention ms, then per settled job: id, fence, kind and what it is counted as (see
--   counts.py), blob, delay, started
-- Kinds (job.Kind): S succeeded, R retrying, D dead, Q quarantined (dead, never run, counted in
--   meta), C cancelled, Z snoozed, G given back, X its own process died of it, K the same once too
--   often.
-- A queue that is paused settles, and grants nothing.
-- Reply: now, holder's state (O its lease holds, L it is lost: nothing was claimed), ready jobs
--   left, a letter per settled job (O done, C done but as cancelled, D had been done, S stale:
--   nothing changed), used memory in % of maxmemory (-1: not looked at, as little was settled),
--   then per claimed job: id, envelope, live, errors
-- Sending the call again settles nothing twice, by (id, fence), and finds what it claimed, by
-- the request that `live` and `claims` hold.

local now = clock(ARGV[1])
local holder, lease = ARGV[2], tonumber(ARGV[3])
local request, resent, want = tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[7])
local HEAD, PER = 12, 6
local PAGES, PAGE = 4, 100 -- of so many jobs, or `want`, to look at where limits keep some out
local HEAVY = 16384 -- bytes of results and failures that may fill Redis before the next renewal tells
local DAY = 86400000 -- ms a job is kept that was called off while it ran, if nobody said how long

-- settle ---------------------------------------------------------------------------------------
local count = (#ARGV - HEAD) / PER
local letters, changed = {}, {}
local weight = 0 -- bytes

-- kind -> where the job rests, whether its attempt counted, whether it is over
local REST = {
  S = { set = succeeded, counts = 1, ends = true, keep = tonumber(ARGV[9]) },
  R = { set = retrying, counts = 1 },
  D = { set = dead, counts = 1, ends = true, keep = tonumber(ARGV[10]) },
  Q = { set = dead, counts = 0, ends = true, keep = tonumber(ARGV[10]) },
  C = { set = cancelled, counts = 1, ends = true, keep = tonumber(ARGV[11]) },
  Z = { set = scheduled, counts = 0 },
  G = { set = ready, counts = 0 },
  X = { set = ready, counts = 0 },
  K = { set = dead, counts = 0, ends = true, keep = tonumber(ARGV[10]) },
}

-- Who listens gets no stream while memory is short, and finds out by that what is missing.
if ARGV[8] == '1' then redis.call('UNLINK', events) end
local heard = is_heard()

-- delay -> score, as text: mostly all jobs of a call have the same
local due_at, kept_until = {}, {}
local function score_of(delay, ends)
  local scores = ends and kept_until or due_at
  local score = scores[delay]
  if not score then
    local ms = tonumber(delay)
    if ends then ms = math.max(ms, heard and LISTENED or RESEND_WINDOW) end
    score = string.format('%.0f', now + ms)
    scores[delay] = score
  end
  return score
end

if count > 0 then
  local ids = {}
  for i = 1, count do ids[i] = ARGV[HEAD + i * PER - 5] end
  local lives = redis.call('HMGET', live, unpack(ids))
  local asked = redis.call('HLEN', cancels) > 0 and redis.call('HMGET', cancels, unpack(ids))
  local moved, records, values, lines, ended_ids, called_off, returned = {}, {}, {}, {}, {}, {}, {}
  local raised, kinds = {}, {} -- what is counted -> how often, its kind
  local again, unused = {}, {} -- what waits once more, and of that what had not started
  local n, nv, nl, ne = 0, 0, 0, 0
  local lists, sizes, seen = {}, {}, {}

  for i = 1, count do
    local at = HEAD + i * PER - 5
    local id, told, counted, blob = ids[i], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
    local kind = kinds[counted]
    if not kind then
      kind = string.sub(counted, 1, 1)
      kinds[counted] = kind
    end
    local raw = lives[i]
    local fence, settled, attempt, crashes, lost, parks, priority, expires, first
    if raw and #raw >= LIVE_SIZE then
      fence, settled, attempt, crashes, lost, parks, priority, expires, first = struct.unpack(LIVE, raw)
    end
    local tail = raw and string.sub(raw, LIVE_SIZE + 1)
    if fence ~= told then
      -- An older fence that was settled, told again: the reply to the first telling was lost.
      letters[i] = (settled and resent and told <= settled) and 'D' or 'S'
    elseif settled == fence or seen[id] then
      letters[i] = 'D'
    elseif string.sub(tail, 1, 22) ~= holder then -- of an earlier job of this id, long forgotten
      letters[i] = 'S'
    else
      local delay, counts = ARGV[at + 4], REST[kind].counts
      letters[i], seen[id] = 'O', true
      if blob ~= '' then
        weight = weight + #blob
        if kind == 'S' then
          values[nv + 1], values[nv + 2] = id, blob
          nv = nv + 2
        else
          lines[nl + 1], lines[nl + 2] = id, blob
          nl = nl + 2
        end
      end
      if asked and asked[i] then -- a cancel is final, whatever the attempt came to
        called_off[#called_off + 1] = id
        if kind ~= 'C' then
          letters[i] = 'C'
          if not REST[kind].ends then delay = kept_for(asked[i], DAY) end
          kind, counted = 'C', 'C' .. string.sub(counted, 2)
        end
      end
      if kind ~= 'G' then raised[counted] = (raised[counted] or 0) + 1 end
      local rest = REST[kind]
      local began, over = 0, 0
      if rest.set == ready then
        returned[#returned + 1] = { id, priority }
        again[#again + 1] = id
        unused[id] = kind == 'G'
        if kind == 'X' then crashes = math.max(crashes, 1) + 1 end -- it was alone
      else
        began = tonumber(ARGV[at + 5])
        if first == 0 then first = began end
        crashes, parks = 0, 0
        if rest.ends then
          over = now
          ne = ne + 1
          ended_ids[ne] = id
        else
          again[#again + 1] = id
        end
        local list, size = lists[kind], sizes[kind]
        if not list then
          list, size = {}, 0
          lists[kind] = list
        end
        list[size + 1], list[size + 2] = score_of(delay, rest.ends), id
        sizes[kind] = size + 2
      end
      n = n + 1
      moved[n] = id
      if heard then changed[n] = id end
      records[n * 2 - 1] = id
      records[n * 2] = struct.pack(LIVE, fence, fence, attempt + counts, crashes, lost, parks,
        priority, expires, first, began, over, 0) .. tail
    end
  end

  send('ZREM', running, moved)
  send('HSET', live, records)
  send('HSET', results, values)
  send('HDEL', cancels, called_off)
  if nl > 0 then
    local owners = {}
    for i = 1, nl, 2 do owners[#owners + 1] = lines[i] end
    local old = redis.call('HMGET', errors, unpack(owners))
    for i = 1, #owners do lines[i * 2] = add_error(old[i], lines[i * 2]) end
    redis.call('HSET', errors, unpack(lines))
  end
  if #returned > 0 then
    local front = front_of(meta, #returned)
    local places = {}
    for i, job in ipairs(returned) do
      places[i * 2 - 1] = ready_score(job[2], front + i)
      places[i * 2] = job[1]
    end
    redis.call('ZADD', ready, unpack(places))
  end
  local asked = asks_of(moved)
  if next(asked) then
    leave(moved, asked, unused, now)
    relock(again, asked, now)
    unlock(ended_ids, asked, now)
  end
  local budget = count * (ARGV[8] == '1' and 4 or 2)
  for kind, list in pairs(lists) do
    local rest = REST[kind]
    redis.call('ZADD', rest.set, unpack(list))
    if kind == 'Q' then redis.call('HINCRBY', meta, 'quarantined', #list / 2) end
    if rest.ends then
      budget = budget - forget(
        trimmable(rest.set, live, now, rest.keep, math.min(budget, 500)),
        rest.set, jobs, live, errors, results, meta, asks, reports)
    else
      local soonest = math.huge
      for i = 1, #list, 2 do soonest = math.min(soonest, tonumber(list[i])) end
      set_timer(timer, rest.set, soonest)
    end
  end
  count_in(raised, now)
  if ne > 0 then redis.call('SPUBLISH', ended, table.concat(ended_ids, ' ')) end
end

-- lease ----------------------------------------------------------------------------------------
local until_ms = redis.call('ZSCORE', holders, holder)
local state = 'O'
if not until_ms and ARGV[4] == '1' then
  redis.call('ZADD', holders, now + lease, holder)
elseif not until_ms or tonumber(until_ms) <= now then
  state = 'L'
end

local reply = { now, state, 0, table.concat(letters), weight < HEAVY and -1 or fullness() }
local r = 5
local function grant(id, envelope, record, failures)
  reply[r + 1], reply[r + 2], reply[r + 3], reply[r + 4] = id, envelope, record, failures
  r = r + 4
end

-- what the first sending of this call claimed ----------------------------------------------------
-- A holder's requests rise. One that was served brings what it claimed, and one that comes late,
-- after it was sent again, claims nothing: nobody would read the answer.
local last, claimed_at = 0, 0 -- its ms, so that it is found whatever clocks did since
if want > 0 then
  local known = redis.call('HGET', claims, holder)
  if known and #known == 16 then last, claimed_at = struct.unpack('>I8I8', known) end
end
if want > 0 and request <= last then want = 0 end
if resent and request == last and state == 'O' then
  local recent = redis.call('ZRANGE', running, claimed_at * TICKS, (claimed_at + 1) * TICKS,
    'BYSCORE', 'LIMIT', 0, 5000)
  for from = 1, #recent, 500 do
    local ids = { unpack(recent, from, math.min(from + 499, #recent)) }
    local lives = redis.call('HMGET', live, unpack(ids))
    for i, id in ipairs(ids) do
      local l = lives[i] and read_live(lives[i])
      if l and l.request == request and string.sub(l.tail, 1, 22) == holder then
        grant(id, redis.call('HGET', jobs, id), lives[i],
          l.attempt > 0 and redis.call('HGET', errors, id) or '')
      end
    end
  end
end

-- claim ----------------------------------------------------------------------------------------

local take_turns = false -- whether some jobs do

-- The next jobs, what was asked for, and what they ask for. Where jobs have limits, those that
-- find a gate shut are put behind it, and others are looked at in their place.
local function take(want)
  if redis.call('EXISTS', asks) == 0 then
    local ids = redis.call('ZRANGE', ready, 0, want - 1)
    if #ids == 0 then return ids, {}, {} end
    redis.call('ZREMRANGEBYRANK', ready, 0, want - 1)
    return ids, redis.call('HMGET', jobs, unpack(ids)), {}
  end
  local ids, envelopes, asked, scores = {}, {}, {}, {}
  local inside, outside, waits, turned_away = {}, {}, {}, {}
  local size = want
  for _ = 1, PAGES do
    local page = redis.call('ZRANGE', ready, 0, size - 1, 'WITHSCORES')
    if #page == 0 then break end
    local found = {}
    for i = 1, #page, 2 do found[#found + 1] = page[i] end
    local raws, asks_here = redis.call('HMGET', jobs, unpack(found)), asks_of(found, true)
    see_gates(asks_here, now)
    local looked = 0
    while looked < #found and #ids < want do
      looked = looked + 1
      local id, raw, score = found[looked], raws[looked], tonumber(page[looked * 2])
      local ask = asks_here[id]
      local gate = ask and raw and shut_gate(ask, score, now)
      if gate then
        wait_at(gate, id, score, outside, waits)
      else
        local n = #ids + 1
        ids[n], envelopes[n], scores[n] = id, raw, score
      end
      if ask and raw and not gate then
        asked[id] = ask
        enter(ask, id, inside)
      elseif ask then
        turn_away(ask, turned_away)
      end
    end
    redis.call('ZREMRANGEBYRANK', ready, 0, looked - 1)
    if #ids == want then break end
    size = math.max(want - #ids, PAGE)
  end
  send('ZADD', entered, inside)
  send('ZADD', gated, outside)
  send('ZADD', waiting, waits)
  open_others(turned_away, now)
  take_turns = serve(scores, turns)
  return ids, envelopes, asked
end

local paused = is_paused(meta, now)
if want > 0 and state == 'O' and not paused then
  redis.call('HSET', claims, holder, struct.pack('>I8I8', request, now))
  local ids, envelopes, asked = take(want)
  if #ids > 0 then
    local lives = redis.call('HMGET', live, unpack(ids))
    local fresh = struct.pack(LIVE, 1, 0, 0, 0, 0, 0, 0, 0, 0, now, 0, request) .. holder
    local claimed, records, empty, broken, again = {}, {}, {}, {}, {}
    local n = 0
    for i, id in ipairs(ids) do
      local record, tries = fresh, 0
      if lives[i] then
        local l = read_live(lives[i])
        tries = l.attempt
        l.fence, l.started, l.request, l.tail = l.fence + 1, now, request, holder
        record = pack_live(l)
      end
      records[i * 2 - 1], records[i * 2] = id, record
      if envelopes[i] then
        n = n + 2
        claimed[n - 1], claimed[n] = now * TICKS + i, id
        grant(id, envelopes[i], record, '')
        if tries > 0 then again[#again + 1] = { r, id } end
      else -- nothing to run: put where a person sees it
        local l = read_live(record)
        l.settled, l.ended, l.tail = l.fence, now, ''
        records[i * 2] = pack_live(l)
        empty[#empty + 1] = score_of(ARGV[12], true)
        empty[#empty + 1] = id
        broken[#broken + 1] = id
      end
    end
    for i = 1, heard and #ids or 0 do changed[#changed + 1] = ids[i] end
    if next(asked) then unlock_started(ids, asked, now) end
    redis.call('HSET', live, unpack(records))
    send('ZADD', running, claimed)
    if #empty > 0 then
      redis.call('ZADD', dead, unpack(empty))
      unlock(broken, asks_of(broken), now)
      redis.call('HINCRBY', meta, 'quarantined', #broken)
      count_in({ Q = #broken }, now)
      redis.call('SPUBLISH', ended, table.concat(broken, ' '))
    end
    if #again > 0 then -- a retried job sees its earlier failures
      local owners = {}
      for i, place in ipairs(again) do owners[i] = place[2] end
      local failures = redis.call('HMGET', errors, unpack(owners))
      for i, place in ipairs(again) do reply[place[1]] = failures[i] or '' end
    end
  end
end
keep_rates(now)
note(changed)
if paused then
  redis.call('DEL', wake) -- a token would bring workers back at once, for nothing
else
  reply[3] = set_wake(wake, ready)
end
if take_turns and reply[3] == 0 and redis.call('EXISTS', gated) == 0 then redis.call('UNLINK', turns) end
return reply
