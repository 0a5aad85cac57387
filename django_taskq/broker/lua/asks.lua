-- Shared as common.lua is: what a job asks for beside being run. One like it at a time (a lock),
-- few of its kind at once or in a time (gates), its turn among others (a key). A job that asks for
-- none of these has no entry in `asks`, and costs a look whether that hash exists.
-- These functions use the keys of a script by their names.

-- Laid out by asks.py: until when the lock stays at least, flags, what a turn costs; then texts
-- that end with a zero: lock, key; then a gate after the other: numbers, its limit, its name.
local ASK = '>I8I1d'
local GATE = '>I4dd'
local UNTIL_STARTED = 1 -- the flag at 1: the lock is for the time before the job runs

-- A text that ends with a zero, and where the next thing begins; nil if there is no such zero.
local function text_at(raw, at)
  local stop = string.find(raw, '\0', at, true)
  if stop then return string.sub(raw, at, stop - 1), stop + 1 end
end

-- nil for what is none: one broken entry must not stop the others.
local function read_ask(raw)
  if #raw < 17 then return end
  local ask, at = { gates = {} }, nil
  ask.stays, ask.flags, ask.cost, at = struct.unpack(ASK, raw)
  ask.lock, at = text_at(raw, at)
  if at then ask.key, at = text_at(raw, at) end
  while at and at + 20 <= #raw do
    local gate = {}
    gate.most, gate.interval, gate.slack, at = struct.unpack(GATE, raw, at)
    gate.limit, at = text_at(raw, at)
    if at then gate.name, at = text_at(raw, at) end
    if at then ask.gates[#ask.gates + 1] = gate end
  end
  return at and ask
end

-- What a new job asks for, with the time until which its lock stays.
local function ask_to_keep(raw, ask, now)
  return struct.pack('>I8', ask.stays > 0 and now + ask.stays or 0) .. string.sub(raw, 9)
end

-- id -> what it asks for.
local function asks_of(ids)
  local found = {}
  if #ids == 0 or redis.call('EXISTS', asks) == 0 then return found end
  for i, raw in ipairs(redis.call('HMGET', asks, unpack(ids))) do
    if raw then found[ids[i]] = read_ask(raw) end
  end
  return found
end

-- locks ----------------------------------------------------------------------------------------
-- name -> the id of the job that has it; behind a space, once that job needs it no more, the time
-- in ms until which it stays all the same.

-- The id of the job that keeps others out, if there is one.
local function locked_by(value, now)
  if not value then return end
  local id, stays = string.match(value, '^(%S+) ?(%d*)$')
  if stays == '' or (tonumber(stays) or 0) > now then return id end
end

-- The jobs of `ids` that have a lock, and what stands at its name.
local function locks_of(ids, asked)
  local owners, names = {}, {}
  for _, id in ipairs(ids) do
    if asked[id] and asked[id].lock ~= '' then
      owners[#owners + 1], names[#names + 1] = id, asked[id].lock
    end
  end
  return owners, names, #names > 0 and redis.call('HMGET', locks, unpack(names)) or {}
end

-- Drops up to 100 locks whose time is over.
local function drop_lapsed(now)
  local names = redis.call('ZRANGE', lapses, '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)
  if #names == 0 then return end
  local gone = {}
  for i, value in ipairs(redis.call('HMGET', locks, unpack(names))) do
    if value and not locked_by(value, now) then gone[#gone + 1] = names[i] end
  end
  send('HDEL', locks, gone)
  redis.call('ZREM', lapses, unpack(names))
end

-- Jobs that need their locks no more. A lock belongs to a job: another's stays.
local function unlock(ids, asked, now)
  local owners, names, values = locks_of(ids, asked)
  local gone, kept, times = {}, {}, {}
  for i, name in ipairs(names) do
    local stays = asked[owners[i]].stays
    if values[i] == owners[i] and stays > now then
      kept[#kept + 1], kept[#kept + 2] = name, string.format('%s %.0f', owners[i], stays)
      times[#times + 1], times[#times + 2] = stays, name
    elseif values[i] == owners[i] then
      gone[#gone + 1] = name
    end
  end
  send('HDEL', locks, gone)
  send('HSET', locks, kept)
  send('ZADD', lapses, times)
end

-- The same for jobs that begin to run, of those whose lock is for the time before.
local function unlock_started(ids, asked, now)
  local started = {}
  for _, id in ipairs(ids) do
    if asked[id] and asked[id].flags % 2 == UNTIL_STARTED then started[#started + 1] = id end
  end
  unlock(started, asked, now)
end

-- Jobs that wait again take their locks where they are free.
local function relock(ids, asked, now)
  local owners, names, values = locks_of(ids, asked)
  local taken = {}
  for i, name in ipairs(names) do
    local owner = locked_by(values[i], now)
    if not owner or owner == owners[i] then -- its own may stand there with an end
      taken[#taken + 1], taken[#taken + 2] = name, owners[i]
    end
  end
  send('HSET', locks, taken)
end

-- gates ----------------------------------------------------------------------------------------
-- A gate lets a job in when it is claimed. Who finds it shut waits behind it, in the order of the
-- line. `held` has a member per job inside, `gated` one per job that waits: gate, zero, (place,)
-- id. A rate is kept as in GCRA (ATM Forum TM 4.0, 4.4.2): `rates` has the time at which the next
-- job would come if all came evenly, and one may come as much as `slack` earlier.

-- A number as 8 bytes in the same order; in `gated` a job's place in the line.
local function sortable(score)
  local raw = struct.pack('>d', score)
  if score >= 0 then return string.char(string.byte(raw) + 128) .. string.sub(raw, 2) end
  return (string.gsub(raw, '.', function(c) return string.char(255 - string.byte(c)) end))
end

local function gated_name(gate, score, id) return gate .. '\0' .. sortable(score) .. id end
local function first_gated(gate, count)
  return redis.call('ZRANGE', gated, '[' .. gate .. '\0', '(' .. gate .. '\1', 'BYLEX',
    'LIMIT', 0, count)
end

-- The numbers of the latest jobs count for the older ones, too.
local function set_limits(asked)
  local names, numbers, seen = {}, {}, {}
  for _, ask in pairs(asked) do
    for _, gate in ipairs(ask.gates) do
      if not seen[gate.limit] then
        seen[gate.limit] = true
        names[#names + 1] = gate.limit
        numbers[#numbers + 1] = struct.pack(GATE, gate.most, gate.interval, gate.slack)
      end
    end
  end
  if #names == 0 then return end
  local changed = {}
  for i, known in ipairs(redis.call('HMGET', limits, unpack(names))) do
    if known ~= numbers[i] then
      changed[#changed + 1], changed[#changed + 2] = names[i], numbers[i]
    end
  end
  send('HSET', limits, changed)
end

-- The gates that this call looked at, by name, with what they let in so far.
local seen_gates = {}
local function gate_of(asked_gate)
  local name = asked_gate.name
  local gate = seen_gates[name]
  if gate then return gate end
  gate = { name = name, most = asked_gate.most, interval = asked_gate.interval,
           slack = asked_gate.slack, inside = 0, next = 0 }
  local now_set = redis.call('HGET', limits, asked_gate.limit) -- counts for older jobs, too
  if now_set and #now_set == 20 then
    gate.most, gate.interval, gate.slack = struct.unpack(GATE, now_set)
  end
  if gate.most > 0 then
    gate.inside = redis.call('ZLEXCOUNT', held, '[' .. name .. '\0', '(' .. name .. '\1')
  end
  if gate.interval > 0 then gate.next = tonumber(redis.call('ZSCORE', rates, name) or 0) end
  local first = first_gated(name, 1)[1]
  gate.first = first and tonumber(redis.call('ZSCORE', waiting, string.sub(first, #name + 10)) or nil)
  seen_gates[name] = gate
  return gate
end

-- How many jobs the gate has room for now.
local function room_of(gate, now)
  local room = math.huge
  if gate.most > 0 then room = gate.most - gate.inside end
  if gate.interval > 0 then
    local since = now - (gate.next - gate.slack)
    room = math.min(room, since < 0 and 0 or math.floor(since / gate.interval) + 1)
  end
  return math.max(room, 0)
end

-- The first of a job's gates that does not let it in: shut, or others wait there longer.
local function shut_gate(ask, score, now)
  for _, asked_gate in ipairs(ask.gates) do
    local gate = gate_of(asked_gate)
    if (gate.first and gate.first < score) or room_of(gate, now) == 0 then return gate end
  end
end

local function enter(ask, id, now, members)
  for _, asked_gate in ipairs(ask.gates) do
    local gate = gate_of(asked_gate)
    gate.inside = gate.inside + 1
    members[#members + 1] = 0
    members[#members + 1] = gate.name .. '\0' .. id
    if gate.interval > 0 then
      gate.next, gate.changed = math.max(gate.next, now) + gate.interval, true
    end
  end
end

-- Puts a job behind a gate that is shut, and notes the gates that may let in another instead: its
-- others, and this one if only those who wait there longer kept it out.
local function wait_at(shut, ask, id, score, outside, waits, turned_away)
  outside[#outside + 1], outside[#outside + 2] = 0, gated_name(shut.name, score, id)
  waits[#waits + 1], waits[#waits + 2] = score, id
  shut.first = math.min(shut.first or math.huge, score)
  for _, asked_gate in ipairs(ask.gates) do turned_away[gate_of(asked_gate).name] = true end
end

-- Puts the first who wait at a gate back in line, in their old places: as many as there is room
-- for, and at most `most`. They are asked again when they are claimed. Says when a rate will have
-- room for those behind them.
local function open_gate(gate, most, now)
  local count = math.min(room_of(gate, now), most, 100)
  local members = first_gated(gate.name, count + 1)
  if gate.interval > 0 and #members > count then
    local due = math.ceil(math.max(gate.next - gate.slack + count * gate.interval, now))
    redis.call('ZADD', opens, due, gate.name)
    set_timer(timer, opens, due)
  end
  members[count + 1] = nil
  if #members == 0 then return end
  local ids, places = {}, {}
  for i, member in ipairs(members) do ids[i] = string.sub(member, #gate.name + 10) end
  for i, score in ipairs(redis.call('ZMSCORE', waiting, unpack(ids))) do
    if score then places[#places + 1], places[#places + 2] = score, ids[i] end
  end
  redis.call('ZREM', gated, unpack(members))
  redis.call('ZREM', waiting, unpack(ids))
  send('ZADD', ready, places)
  set_wake(wake, ready)
end

-- Opens the gates of jobs that were turned away, each by what room it has, and says when those
-- that keep a rate have some again.
local function open_others(turned_away, now)
  for name, gate in pairs(seen_gates) do
    if gate.first then open_gate(gate, turned_away[name] and 100 or 0, now) end
  end
end

-- Opens up to `most` gates whose rate has room again; how many those were.
local function open_due(most, now)
  if most <= 0 then return 0 end
  local names = redis.call('ZRANGE', opens, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  for _, name in ipairs(names) do
    redis.call('ZREM', opens, name)
    local first = first_gated(name, 1)[1]
    local id = first and string.sub(first, #name + 10)
    local ask = id and asks_of({ id })[id]
    for _, asked_gate in ipairs(ask and ask.gates or {}) do
      if asked_gate.name == name then open_gate(gate_of(asked_gate), 100, now) end
    end
  end
  return #names
end

-- Jobs that run no more give their places back, and as many are let in. `unused`: ids among them
-- that had not started, whose share of a rate is given back, too.
local function leave(ids, asked, unused, now)
  local members, freed = {}, {}
  for _, id in ipairs(ids) do
    for _, asked_gate in ipairs(asked[id] and asked[id].gates or {}) do
      members[#members + 1] = asked_gate.name .. '\0' .. id
      local gate = freed[asked_gate.name] or { asked = asked_gate, count = 0, unused = 0 }
      freed[asked_gate.name] = gate
      gate.count = gate.count + 1
      if unused[id] then gate.unused = gate.unused + 1 end
    end
  end
  send('ZREM', held, members)
  for _, each in pairs(freed) do
    local gate = gate_of(each.asked)
    if gate.interval > 0 and each.unused > 0 then
      gate.next, gate.changed = gate.next - each.unused * gate.interval, true
    end
    if gate.first then open_gate(gate, each.count, now) end
  end
end

-- Jobs that leave the line without having run: nobody waits at a gate under their names, and what
-- was to let them in lets in the next. `places`: id -> its score in `waiting`, if it was there.
local function step_out(ids, places, asked, now)
  local members, left = {}, {}
  for _, id in ipairs(ids) do
    for _, asked_gate in ipairs(asked[id] and asked[id].gates or {}) do
      if places[id] then members[#members + 1] = gated_name(asked_gate.name, tonumber(places[id]), id) end
      left[asked_gate.name] = asked_gate
    end
  end
  send('ZREM', gated, members)
  for _, asked_gate in pairs(left) do
    local gate = gate_of(asked_gate)
    if gate.first then open_gate(gate, 100, now) end
  end
end

-- Writes down what the gates of this call let in, and drops rates that nobody used of late.
local function keep_rates(now)
  local next_at = {}
  for name, gate in pairs(seen_gates) do
    if gate.changed then
      next_at[#next_at + 1], next_at[#next_at + 2] = string.format('%.17g', gate.next), name
    end
  end
  if #next_at == 0 then return end
  redis.call('ZADD', rates, unpack(next_at))
  send('ZREM', rates, redis.call('ZRANGE', rates, '-inf', now, 'BYSCORE', 'LIMIT', 0, #next_at))
end

-- turns ----------------------------------------------------------------------------------------
-- Start-time fair queueing (Goyal, Vin, Cheng 1996) in the scores of `ready`: a job's place is one
-- turn behind the last of its key, or behind who is next in line if its key has none there. Those
-- without a key come after all who are there.

-- Gives places at the end of the line, one after the other; `done` writes down how far it came.
local function line_of(ready, meta, turns)
  local line = { last = tonumber(redis.call('HGET', meta, 'seq') or 0), heads = {}, turns = {} }
  function line.head(priority)
    local head = line.heads[priority]
    if not head then
      local band = ready_score(priority, 0)
      local first = redis.call('ZRANGE', ready, band, '(' .. string.format('%.0f', band + PRIORITY / 2),
        'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
      head = first[2] and tonumber(first[2]) - band or line.last
      line.heads[priority] = head
    end
    return head
  end
  function line.place(priority, ask)
    if not ask or ask.key == '' then
      line.last = line.last + 1
      return ready_score(priority, line.last)
    end
    local name = string.format('%.0f:', priority) .. ask.key
    local turn = line.turns[name] or tonumber(redis.call('HGET', turns, name) or 0)
    turn = math.max(turn, line.head(priority)) + ask.cost
    line.turns[name] = turn
    line.last = math.max(line.last, math.ceil(turn))
    return ready_score(priority, turn)
  end
  function line.done()
    redis.call('HSET', meta, 'seq', string.format('%.0f', line.last))
    local flat = {}
    for name, turn in pairs(line.turns) do
      flat[#flat + 1], flat[#flat + 2] = name, string.format('%.17g', turn)
    end
    send('HSET', turns, flat)
  end
  return line
end
