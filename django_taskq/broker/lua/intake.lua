-- Taking jobs in, for enqueue and for tick; see common.lua.

local PER = 6 -- id, envelope, priority, due, expires_in, ask: what a job is in ARGV, see enqueue.lua

-- What the jobs of `list` ask for, by id, and who has the locks that they want.
local function wants_of(list, from, ids, now)
  local asked, locked = {}, {}
  for i, id in ipairs(ids) do
    local raw = list[from + i * PER - 1]
    if raw ~= '' then asked[id] = read_ask(raw) end
  end
  if not next(asked) then return asked, locked end
  local _, names, values = locks_of(ids, asked)
  for i, name in ipairs(names) do locked[name] = locked_by(values[i], now) end
  return asked, locked
end

-- Takes the jobs of `list` in, from place `from` on; a letter each: N new, E its id existed, U
-- another job has its lock; and for each U the id of that job.
local function take_in(now, list, from)
  local count = (#list - from + 1) / PER
  local ids = {}
  for i = 1, count do ids[i] = list[from + (i - 1) * PER] end
  local known = redis.call('HMGET', jobs, unpack(ids))
  local asked, locked = wants_of(list, from, ids, now)
  local letters, others = {}, {}
  local envelopes, records, places, due_at, entries, taken, new = {}, {}, {}, {}, {}, {}, {}
  local first_due
  local seen = {}
  -- Where nobody asks for a turn, a sequence is all it takes.
  local line = next(asked) and line_of(ready, gated, meta, turns, asked)
  local last = line or redis.call('HINCRBY', meta, 'seq', count) - count
  for i = 1, count do
    local at = from + (i - 1) * PER
    local id = list[at]
    local ask = asked[id]
    local lock = ask and ask.lock ~= '' and ask.lock
    if known[i] or seen[id] then
      letters[i] = 'E'
    elseif lock and locked[lock] then
      letters[i] = 'U'
      others[#others + 1] = locked[lock]
    else
      letters[i] = 'N'
      seen[id] = true
      new[#new + 1] = id
      envelopes[#envelopes + 1] = id
      envelopes[#envelopes + 1] = list[at + 1]
      local priority, due, expires = tonumber(list[at + 2]), tonumber(list[at + 3]), tonumber(list[at + 4])
      if due < 0 then due = now - due end
      if due > now then
        due_at[#due_at + 1] = due
        due_at[#due_at + 1] = id
        if not first_due or due < first_due then first_due = due end
      else
        places[#places + 1] = line and line.place(priority, ask) or ready_score(priority, last + i)
        places[#places + 1] = id
      end
      if expires > 0 or priority ~= 0 then
        local l = read_live(nil)
        l.priority = priority
        if expires > 0 then l.expires = now + expires end
        records[#records + 1] = id
        records[#records + 1] = pack_live(l)
      end
      if ask then
        entries[#entries + 1] = id
        entries[#entries + 1] = ask_to_keep(list[at + 5], ask, now)
      end
      if lock then
        locked[lock] = id
        taken[#taken + 1] = lock
        taken[#taken + 1] = id
      end
    end
  end
  note(new)
  send('HSET', jobs, envelopes)
  send('HSET', live, records)
  send('ZADD', scheduled, due_at)
  if first_due then set_timer(timer, scheduled, first_due) end
  if #places > 0 then
    if line then line.done() end
    redis.call('ZADD', ready, unpack(places))
    set_wake(wake, ready)
  end
  if next(asked) then
    send('HSET', asks, entries)
    send('HSET', locks, taken)
    set_limits(asked)
    drop_lapsed(now, 2 * count)
  end
  return letters, others
end
