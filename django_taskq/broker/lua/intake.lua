-- Taking jobs in, for enqueue and for tick; see common.lua.

local PER = 5 -- id, envelope, priority, due, expires_in: what a job is in ARGV, see enqueue.lua

-- Takes the jobs of `list` in, from place `from` on; a letter each: N new, E its id existed.
local function take_in(now, list, from)
  local count = (#list - from + 1) / PER
  local ids = {}
  for i = 1, count do ids[i] = list[from + (i - 1) * PER] end
  local known = redis.call('HMGET', jobs, unpack(ids))
  local letters, envelopes, records, places, due_at = {}, {}, {}, {}, {}
  local first_due
  local seen = {}
  local sequence = tail_of(meta, count)
  for i = 1, count do
    local at = from + (i - 1) * PER
    local id = list[at]
    if known[i] or seen[id] then
      letters[i] = 'E'
    else
      letters[i] = 'N'
      seen[id] = true
      envelopes[#envelopes + 1] = id
      envelopes[#envelopes + 1] = list[at + 1]
      local priority, due, expires = tonumber(list[at + 2]), tonumber(list[at + 3]), tonumber(list[at + 4])
      if due < 0 then due = now - due end
      if due > now then
        due_at[#due_at + 1] = due
        due_at[#due_at + 1] = id
        if not first_due or due < first_due then first_due = due end
      else
        places[#places + 1] = ready_score(priority, sequence + i)
        places[#places + 1] = id
      end
      if expires > 0 or priority ~= 0 then
        local l = read_live(nil)
        l.priority = priority
        if expires > 0 then l.expires = now + expires end
        records[#records + 1] = id
        records[#records + 1] = pack_live(l)
      end
    end
  end
  send('HSET', jobs, envelopes)
  send('HSET', live, records)
  send('ZADD', scheduled, due_at)
  if first_due then set_timer(timer, scheduled, first_due) end
  if #places > 0 then
    redis.call('ZADD', ready, unpack(places))
    set_wake(wake, ready)
  end
  return letters
end
