"""Run folders → one self-contained HTML page that answers: did it work, how sure are we, what did it cost?

Charts are SVG drawn here, so that the page needs no script, no network and little room. Everything a model, a person
or a file supplied is escaped; nothing in the page is executed.
"""
