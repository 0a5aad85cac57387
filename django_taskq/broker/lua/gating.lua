-- What a job's limits do, see asks.lua. A gate lets a job in when it is claimed; who finds it shut
-- waits behind it, in the order of the line. `entered` has a member per job inside, `gated` one per
-- job that waits: gate, zero, (place,) id. A rate is kept as in GCRA (ATM Forum TM 4.0, 4.4.2):
-- `rates` has the time at which the next job would come if all came evenly, and one may come as
-- much as `slack` earlier.
-- Where jobs wait at a gate, one of these is so: it is full, and the next to end lets one in; a job
-- that asks for it is in line, and lets in another if it is turned away; `opens` says when.

-- A number as 8 bytes in the same order; in `gated` a job's place in the line.
local function sortable(score)
  local raw = struct.pack('>d', score)
  if score >= 0 then return string.char(string.byte(raw) + 128) .. string.sub(raw, 2) end
  return (string.gsub(raw, '.', function(c) return string.char(255 - string.byte(c)) end))
end

-- The number again.
local function from_sortable(raw)
  local first = string.byte(raw)
  if first >= 128 then raw = string.char(first - 128) .. string.sub(raw, 2)
  else raw = string.gsub(raw, '.', function(c) return string.char(255 - string.byte(c)) end) end
  return (struct.unpack('>d', raw))
end

local function gated_name(gate, score, id) return gate .. '\0' .. sortable(score) .. id end
local function gated_id(gate, member) return string.sub(member, #gate + 10) end
local function gated_place(gate, member)
  return member and #member >= #gate + 9 and from_sortable(string.sub(member, #gate + 2, #gate + 9))
end
local function first_gated(gate, count)
  return redis.call('ZRANGE', gated, '[' .. gate .. '\0', '(' .. gate .. '\1', 'BYLEX',
    'LIMIT', 0, count)
end

-- `limits`: limit -> the numbers that the latest job brought, which count for the older ones, too. Where
-- a person gave others, those stand before them, and count: see limit.lua.
local NUMBERS = struct.size(GATE)
local function by_hand(known)
  return known and #known == 2 * NUMBERS and string.sub(known, 1, NUMBERS) or ''
end

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
    local wanted = by_hand(known) .. numbers[i]
    if known ~= wanted then changed[#changed + 1], changed[#changed + 2] = names[i], wanted end
  end
  send('HSET', limits, changed)
end

-- By whose numbers a gate goes, as a job says that waits there or is inside; "" if it does not.
local function limit_of(gate, id)
  local ask = asks_of({ id })[id]
  for _, wanted in ipairs(ask and ask.gates or {}) do
    if wanted.name == gate then return wanted.limit end
  end
  return ''
end

-- The gates that this call looked at, by name, with what they let in so far.
local seen_gates, seen_limits = {}, {}
local function look_afresh() seen_gates = {} end

-- Writes down how many are inside. Few are all read at once: each count of its own goes through
-- all of them while they are few.
local function count_inside(gates)
  if #gates == 0 then return end
  if redis.call('ZCARD', entered) <= 4 * #gates then
    local named = {}
    for _, gate in ipairs(gates) do named[gate.name] = gate end
    for _, member in ipairs(redis.call('ZRANGE', entered, 0, 4 * #gates)) do
      local gate = named[string.match(member, '^%Z*')]
      if gate then gate.inside = gate.inside + 1 end
    end
    return
  end
  for _, gate in ipairs(gates) do
    gate.inside = redis.call('ZLEXCOUNT', entered, '[' .. gate.name .. '\0', '(' .. gate.name .. '\1')
  end
end

-- Looks at those gates of what is asked for that were not looked at before: what stands in
-- `limits` counts, and a rate that is further ahead than it allows counts for nothing: the clock
-- was set back, or the numbers are others now.
local function see_gates(asked, now)
  local fresh, names, unknown, counted = {}, {}, {}, {}
  for _, ask in pairs(asked) do
    for _, wanted in ipairs(ask.gates) do
      if not seen_gates[wanted.name] then
        fresh[#fresh + 1], names[#names + 1] = wanted, wanted.name
        seen_gates[wanted.name] = { name = wanted.name, inside = 0, next = now, changed = false }
        if seen_limits[wanted.limit] == nil then
          seen_limits[wanted.limit] = false
          unknown[#unknown + 1] = wanted.limit
        end
      end
    end
  end
  if #fresh == 0 then return end
  for i, numbers in ipairs(#unknown > 0 and redis.call('HMGET', limits, unpack(unknown)) or {}) do
    seen_limits[unknown[i]] = numbers and #numbers >= NUMBERS and numbers
  end
  local next_at = redis.call('ZMSCORE', rates, unpack(names))
  local waited_for = redis.call('EXISTS', gated) == 1
  for i, wanted in ipairs(fresh) do
    local gate, numbers = seen_gates[wanted.name], seen_limits[wanted.limit]
    gate.most, gate.interval, gate.slack = wanted.most, wanted.interval, wanted.slack
    if numbers then gate.most, gate.interval, gate.slack = struct.unpack(GATE, numbers) end
    if gate.most > 0 then counted[#counted + 1] = gate end
    local ahead = next_at[i] and tonumber(next_at[i]) - now or 0
    if ahead > 0 and ahead <= gate.slack + gate.interval + 1 then gate.next = now + ahead end
    if waited_for then gate.first = gated_place(gate.name, first_gated(gate.name, 1)[1]) end
  end
  count_inside(counted)
end

-- How many jobs the gate has room for now. Times are doubles: a hundredth of the interval is lost
-- neither way.
local function room_of(gate, now)
  local room = math.huge
  if gate.most > 0 then room = gate.most - gate.inside end
  if gate.interval > 0 then
    local since = now - gate.next + gate.slack + gate.interval / 100
    room = math.min(room, math.floor(since / gate.interval) + 1)
  end
  return math.max(room, 0)
end

-- The first of a job's gates that does not let it in: shut, or others wait there longer.
local function shut_gate(ask, score, now)
  for _, wanted in ipairs(ask.gates) do
    local gate = seen_gates[wanted.name]
    if (gate.first and gate.first < score) or room_of(gate, now) == 0 then return gate end
  end
end

local function enter(ask, id, members)
  for _, wanted in ipairs(ask.gates) do
    local gate = seen_gates[wanted.name]
    gate.inside = gate.inside + 1
    members[#members + 1] = 0
    members[#members + 1] = gate.name .. '\0' .. id
    if gate.interval > 0 then gate.next, gate.changed = gate.next + gate.interval, true end
  end
end

-- Notes that a job left the line without passing its gates: each may let in another instead.
local function turn_away(ask, turned_away)
  for _, wanted in ipairs(ask.gates) do
    turned_away[wanted.name] = (turned_away[wanted.name] or 0) + 1
  end
end

-- Puts a job behind a gate that is shut, or at which others wait longer.
local function wait_at(gate, id, score, outside, waits)
  outside[#outside + 1], outside[#outside + 2] = 0, gated_name(gate.name, score, id)
  waits[#waits + 1], waits[#waits + 2] = score, id
  gate.first = math.min(gate.first or math.huge, score)
end

-- Puts the first who wait at a gate back in line, in their old places: as many as there is room
-- for, and at most `most`; says how many. They are asked again when they are claimed, and what they
-- come to lets in those behind them. If none is let in for want of time, it is said when.
local function open_gate(gate, most, now)
  local count = math.min(room_of(gate, now), most, 100)
  if count == 0 and (gate.interval == 0 or (gate.most > 0 and gate.inside >= gate.most)) then return 0 end
  local members = first_gated(gate.name, count + 1)
  gate.first = gated_place(gate.name, members[count + 1])
  members[count + 1] = nil
  if count == 0 and gate.first then
    local due = math.ceil(math.max(gate.next - gate.slack, now))
    redis.call('ZADD', opens, due, gate.name)
    set_timer(timer, opens, due)
  end
  if #members == 0 then return 0 end
  local ids, places = {}, {}
  for i, member in ipairs(members) do ids[i] = gated_id(gate.name, member) end
  for i, score in ipairs(redis.call('ZMSCORE', waiting, unpack(ids))) do
    if score then places[#places + 1], places[#places + 2] = score, ids[i] end
  end
  redis.call('ZREM', gated, unpack(members))
  redis.call('ZREM', waiting, unpack(ids))
  send('ZADD', ready, places)
  note(ids)
  set_wake(wake, ready)
  return #members
end

-- What a claim leaves behind: a gate lets in as many as it turned away, and a rate that let jobs in
-- says when it has room for those who wait.
local function open_others(turned_away, now)
  for name, gate in pairs(seen_gates) do
    if gate.first then open_gate(gate, turned_away[name] or 0, now) end
  end
end

-- Opens a gate as the first who waits there asks for it; how many were let in.
local function open_named(name, most, now)
  local first = first_gated(name, 1)[1]
  if not first then return 0 end
  see_gates(asks_of({ gated_id(name, first) }), now)
  local gate = seen_gates[name]
  return gate and gate.first and open_gate(gate, most, now) or 0
end

-- Opens gates whose rate has room again until `most` jobs were let in; how many those are.
local function open_due(most, now)
  local names = most > 0 and redis.call('ZRANGE', opens, '-inf', now, 'BYSCORE', 'LIMIT', 0, most) or {}
  local moved = 0
  for _, name in ipairs(names) do
    if moved >= most then break end
    redis.call('ZREM', opens, name)
    moved = moved + open_named(name, most - moved, now)
  end
  return moved
end

-- Jobs that run no more give their places back, and as many are let in. `unused`: ids among them
-- that had not started, whose share of a rate is given back, too.
local function leave(ids, asked, unused, now)
  local members, freed, given = {}, {}, {}
  for _, id in ipairs(ids) do
    for _, wanted in ipairs(asked[id] and asked[id].gates or {}) do
      local name = wanted.name
      members[#members + 1] = name .. '\0' .. id
      freed[name] = (freed[name] or 0) + 1
      if unused[id] then given[name] = (given[name] or 0) + 1 end
    end
  end
  send('ZREM', entered, members)
  if #members == 0 or (not next(given) and redis.call('EXISTS', gated) == 0) then return end
  see_gates(asked, now)
  for name, count in pairs(freed) do
    local gate = seen_gates[name]
    if gate.interval > 0 and given[name] then
      gate.next, gate.changed = math.max(gate.next - given[name] * gate.interval, now), true
    end
    if gate.first then open_gate(gate, gate.most > 0 and count or given[name] or 0, now) end
  end
end

-- Jobs that leave the line without having run: nobody waits at a gate under their names, and what
-- was to let them in lets in the next. `places`: id -> its score in `waiting`, if it was there.
local function step_out(ids, places, asked, now)
  local members, left = {}, {}
  for _, id in ipairs(ids) do
    for _, wanted in ipairs(asked[id] and asked[id].gates or {}) do
      if places[id] then members[#members + 1] = gated_name(wanted.name, tonumber(places[id]), id) end
      left[wanted.name] = (left[wanted.name] or 0) + 1
    end
  end
  send('ZREM', gated, members)
  if not next(left) or redis.call('EXISTS', gated) == 0 then return end
  see_gates(asked, now)
  for name, count in pairs(left) do
    if seen_gates[name].first then open_gate(seen_gates[name], count, now) end
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
